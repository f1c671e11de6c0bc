"""Can the borders between blocks be heard: what happens there against what happens elsewhere.

Two measures, each a ratio of means over places where there is sound, 1 when no border shows:

- *click*: the largest second difference within 2 ms of a place, over its root mean square within
  20 ms. A step or a kink in the waveform raises it.
- *flux*: distance of the log spectra of the 16 ms before a place and the 16 ms after it. A jump
  in timbre or level raises it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

CLICK_MS, SURROUNDINGS_MS, FLUX_MS = 2.0, 20.0, 16.0
CONTROL_STEP_MS, CLEARANCE_MS = 5.0, 10.0
FLOOR_DB = -40.0
"""Places are used where the level is above this, against the loudest."""

_MIN_PLACES = 3


@dataclass(frozen=True)
class BorderRatio:
    """Means at borders over means elsewhere; NaN where fewer than three borders have sound."""

    click: float
    flux: float


def places(length: int, block: int, delay: int) -> list[int]:
    """Samples of an output of ``length`` where a block begins, its ``delay`` trimmed away."""
    first = block - delay % block
    return list(range(first, length, block))


def _click(curvature: NDArray[np.float64], place: int, rate_hz: int) -> float:
    near, around = (round(ms * rate_hz / 1e3) for ms in (CLICK_MS, SURROUNDINGS_MS))
    peak = np.abs(curvature[place - near : place + near]).max()
    return float(peak / np.sqrt(np.square(curvature[place - around : place + around]).mean()))


def _flux(speech: NDArray[np.float64], place: int, rate_hz: int) -> float:
    size = round(FLUX_MS * rate_hz / 1e3)
    window = np.hanning(size)
    before, after = (
        np.abs(np.fft.rfft(window * speech[start : start + size]))
        for start in (place - size, place)
    )
    floor = 1e-3 * max(before.max(), after.max())
    return float(np.abs(np.log((before + floor) / (after + floor))).mean())


def border_ratio(speech: FloatArray, rate_hz: int, borders: list[int]) -> BorderRatio:
    """Compare ``borders`` (samples) with places every 5 ms at least 10 ms from any of them."""
    wide = speech.astype(np.float64)
    margin = round(SURROUNDINGS_MS * rate_hz / 1e3)
    step, clearance = (round(ms * rate_hz / 1e3) for ms in (CONTROL_STEP_MS, CLEARANCE_MS))
    power = np.convolve(wide**2, np.full(2 * margin, 0.5 / margin), mode="same")
    loud = power > power.max(initial=0.0) * 10 ** (FLOOR_DB / 10)

    def usable(place: int) -> bool:
        return margin < place < len(wide) - margin and bool(loud[place]) and power[place] > 1e-10

    at = [place for place in borders if usable(place)]
    marks = np.asarray(borders)
    elsewhere = [
        place
        for place in range(margin, len(wide) - margin, step)
        if usable(place) and (not len(marks) or np.abs(marks - place).min() >= clearance)
    ]
    if len(at) < _MIN_PLACES or not elsewhere:
        return BorderRatio(np.nan, np.nan)
    curvature = np.diff(wide, 2, prepend=[wide[0], wide[0]])
    click, flux = (
        np.mean([measure(signal, place, rate_hz) for place in at])
        / np.mean([measure(signal, place, rate_hz) for place in elsewhere])
        for measure, signal in ((_click, curvature), (_flux, wide))
    )
    return BorderRatio(float(click), float(flux))
