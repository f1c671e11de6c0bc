"""Synchronous overlap-add: where and how one piece of audio continues another."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fast_vc_service.contract import FloatArray

_SILENCE_POWER = 1e-8
"""Mean square (-80 dBFS) below which a phase means nothing."""

_AS_GOOD = 1e-3
"""Correlations this close to the best count as equal, so that periods of a vowel do not compete."""


def best_offset(candidate: FloatArray, tail: FloatArray) -> int:
    """Find where in ``candidate`` the piece that ended with ``tail`` goes on.

    Maximises the normalised cross-correlation. Of places as good as the best the one nearest the
    middle wins, then the earlier: on silence the middle, that is, no shift.

    Args:
        candidate: ``[search + fade]``.
        tail: ``[fade]``, what the previous piece expects next.

    Returns:
        0 to search; ``candidate[offset : offset + fade]`` overlaps ``tail``.

    Raises:
        ValueError: ``candidate`` is shorter than ``tail``, or ``tail`` is empty.
    """
    search = len(candidate) - len(tail)
    if search < 0 or not len(tail):
        raise ValueError(
            f"expected a candidate at least as long as the tail, got {len(candidate)} samples "
            f"for a tail of {len(tail)}"
        )
    middle = search // 2
    heard = candidate.astype(np.float64)
    wanted = tail.astype(np.float64)
    silence = _SILENCE_POWER * len(tail)
    power = float(wanted @ wanted)
    if power < silence:
        return middle
    sums = np.concatenate((np.zeros(1), np.cumsum(heard * heard)))
    energy = sums[len(tail) :] - sums[: search + 1]
    correlation = np.correlate(heard, wanted) / np.sqrt(np.maximum(energy, silence) * power)
    correlation[energy < silence] = 0.0
    good = np.flatnonzero(correlation >= correlation.max() - _AS_GOOD)
    return int(good[np.argmin(np.abs(good - middle))])


def crossfade(tail: FloatArray, head: FloatArray) -> FloatArray:
    """Fade from ``tail`` to ``head``, both ``[fade]``, with raised-cosine weights.

    The weights add up to one where the two are alike; as far as they are not, they are raised so
    that the power holds instead of dipping in the middle.

    Returns:
        ``[fade]``; starts as ``tail``, ends as ``head``.

    Raises:
        ValueError: Different lengths.
    """
    if len(tail) != len(head):
        raise ValueError(f"expected equal lengths, got {len(tail)} and {len(head)} samples")
    old, new = tail.astype(np.float64), head.astype(np.float64)
    fade_in = _raised_cosine(len(tail))
    fade_out = 1.0 - fade_in
    powers = float(old @ old), float(new @ new)
    alike = 1.0
    if min(powers) > _SILENCE_POWER * len(tail):
        alike = min(max(float(old @ new) / (powers[0] * powers[1]) ** 0.5, 0.0), 1.0)
    # The power of a weighted sum of two signals with this correlation and equal power.
    power = fade_in**2 + fade_out**2 + 2.0 * alike * fade_in * fade_out
    return ((old * fade_out + new * fade_in) / np.sqrt(power)).astype(np.float32)


@lru_cache(maxsize=16)
def _raised_cosine(length: int) -> npt.NDArray[np.float64]:
    ramp: npt.NDArray[np.float64] = np.sin(np.pi / 2 * (np.arange(length) + 0.5) / length) ** 2
    ramp.flags.writeable = False
    return ramp
