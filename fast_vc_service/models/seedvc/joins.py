"""How the published system joins pieces of audio: the rules that its results were made with.

The service joins live blocks in ``engine/window.py``; files converted in long chunks are joined
here, and the benchmarks' window-by-window baseline uses the published SOLA.
"""

from __future__ import annotations

import numpy as np

from fast_vc_service.contract import FloatArray


def crossfaded(previous: FloatArray, following: FloatArray, overlap: int) -> FloatArray:
    """Fade the end of ``previous`` into the beginning of ``following``, by squared cosines.

    Args:
        previous: ``[at least overlap]``.
        following: ``[any]``; one shorter than the overlap is faded over its own length.
        overlap: Samples.

    Returns:
        Of the length of ``following``.
    """
    ramp = np.linspace(0.0, np.pi / 2, overlap)
    fade_out, fade_in = np.cos(ramp) ** 2, np.cos(ramp[::-1]) ** 2
    length = min(overlap, len(following))
    joined = following.astype(np.float32).copy()
    tail = previous[-overlap:][:length]
    joined[:length] = following[:length] * fade_in[:length] + tail * fade_out[:length]
    return joined


def sola(
    window: FloatArray, buffer: FloatArray, block: int, search: int
) -> tuple[FloatArray, FloatArray, int]:
    """Join one converted window to the block before, as the published live program does.

    Args:
        window: ``[block + buffer + search]``.
        buffer: What the block before expects next.
        block: Samples to emit.
        search: Largest offset.

    Returns:
        The block ``[block]``, the next buffer, and the offset taken.
    """
    length = len(buffer)
    head = window[: length + search].astype(np.float64)
    correlation = np.correlate(head, buffer.astype(np.float64))
    energy = np.convolve(head * head, np.ones(length), "valid")
    offset = int(np.argmax(correlation / np.sqrt(energy + 1e-8)))
    moved = window[offset:].astype(np.float32).copy()
    fade_in = np.sin(np.pi / 2 * np.linspace(0.0, 1.0, length)) ** 2
    moved[:length] = moved[:length] * fade_in + buffer * (1.0 - fade_in)
    return moved[:block], moved[block : block + length].copy(), offset
