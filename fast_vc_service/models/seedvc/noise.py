"""Noise that belongs to a place in a stream: the same however often it is asked for."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fast_vc_service.contract import FloatArray


def noise_at(seed: int, first: int, count: int, channels: int) -> FloatArray:
    """Standard normal noise of a stretch of a stream.

    Args:
        seed: Chooses the noise.
        first: Absolute index of the first position; may be negative.
        count: Positions.
        channels: Values a position.

    Returns:
        ``[channels, count]``: a function of seed, channels and absolute index alone.
    """
    page = _page_length(channels)
    pages = range(first // page, -(-(first + count) // page))
    joined = np.concatenate([_page(seed, channels, index) for index in pages], axis=1)
    offset = first - pages[0] * page
    return joined[:, offset : offset + count]


def _page_length(channels: int) -> int:
    """Positions of a page: about 64 KiB each."""
    return 16_384 // channels


# A few pages of every session: what overlapping windows ask for again.
@lru_cache(maxsize=1024)
def _page(seed: int, channels: int, index: int) -> FloatArray:
    # Entropy of a seed sequence is not negative: the sign is folded into the last bit.
    place = 2 * index if index >= 0 else -2 * index - 1
    generator = np.random.Generator(np.random.PCG64([seed, channels, place]))
    page = generator.standard_normal((channels, _page_length(channels)), dtype=np.float32)
    page.flags.writeable = False
    return page
