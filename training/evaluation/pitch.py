"""Does the melody survive: F0 of the output against F0 of the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyworld
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

FRAME_MS = 10.0
STRICT = 0.1
"""``allowed_range`` of DIO: it drops frames of which it is not sure."""

AGREE_SEMITONES = 1.0
_NOISE = 1e-5
MIN_HZ, MAX_HZ = 55.0, 700.0
MIN_FRAMES = 20
"""Frames voiced in both below which nothing is said."""


@dataclass(frozen=True)
class PitchAgreement:
    """NaN where too few frames are voiced in both.

    Attributes:
        correlation: Pearson's, of log F0 over frames voiced in both.
        rmse_semitones: over the same frames, after taking each side's mean away.
    """

    correlation: float
    rmse_semitones: float


def f0_track(speech: FloatArray, rate_hz: int) -> FloatArray:
    """F0 in Hz every 10 ms by DIO and StoneMask, 0 where unvoiced or not sure.

    Sure is where Harvest agrees within a semitone: one frame an octave off weighs more in a
    correlation than fifty good ones, and the two seldom make the same mistake.
    """
    # Digital silence would be called voiced.
    noise = np.random.default_rng(len(speech)).standard_normal(len(speech))
    wide = speech.astype(np.float64) + _NOISE * noise
    bounds: dict[str, Any] = {"f0_floor": MIN_HZ, "f0_ceil": MAX_HZ, "frame_period": FRAME_MS}
    strict, times = pyworld.dio(wide, rate_hz, allowed_range=STRICT, **bounds)
    first = pyworld.stonemask(wide, strict, times, rate_hz)
    second, _ = pyworld.harvest(wide, rate_hz, **bounds)
    frames = min(len(first), len(second))
    first, second = first[:frames], second[:frames]
    apart = np.abs(12 * np.log2(np.maximum(first, 1.0) / np.maximum(second, 1.0)))
    sure = (first > 0) & (second > 0) & (apart < AGREE_SEMITONES)
    return np.where(sure, first, 0.0).astype(np.float32)


def agreement(source_hz: FloatArray, output_hz: FloatArray) -> PitchAgreement:
    """Compare two tracks of the same times; a frame more at the end of either is ignored."""
    frames = min(len(source_hz), len(output_hz))
    source, output = source_hz[:frames], output_hz[:frames]
    both = (source > 0) & (output > 0)
    if both.sum() < MIN_FRAMES:
        return PitchAgreement(np.nan, np.nan)
    first, second = (12 * np.log2(f0[both].astype(np.float64)) for f0 in (source, output))
    first, second = first - first.mean(), second - second.mean()
    rmse = float(np.sqrt(np.mean(np.square(first - second))))
    power = float(np.sqrt(np.mean(first**2) * np.mean(second**2)))
    correlation = float(np.mean(first * second)) / power if power > 0 else np.nan
    return PitchAgreement(correlation, rmse)
