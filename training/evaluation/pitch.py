"""Does the melody survive: F0 of the output against F0 of the source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyworld
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

FRAME_MS = 10.0
MIN_HZ, MAX_HZ = 55.0, 700.0
MIN_FRAMES = 20
"""Frames voiced in both below which nothing is said."""


@dataclass(frozen=True)
class PitchAgreement:
    """NaN where too few frames are voiced in both.

    Attributes:
        correlation: Pearson's, of log F0 over frames voiced in both.
        rmse_semitones: over the same frames, after taking each side's mean away.
        voicing_error: share of frames voiced in one only.
    """

    correlation: float
    rmse_semitones: float
    voicing_error: float


def f0_track(speech: FloatArray, rate_hz: int) -> FloatArray:
    """F0 in Hz every 10 ms by Harvest; 0 where unvoiced."""
    f0, _ = pyworld.harvest(
        speech.astype(np.float64), rate_hz, f0_floor=MIN_HZ, f0_ceil=MAX_HZ, frame_period=FRAME_MS
    )
    return np.asarray(f0, np.float32)


def agreement(source_hz: FloatArray, output_hz: FloatArray) -> PitchAgreement:
    """Compare two tracks of the same times; a frame more at the end of either is ignored."""
    frames = min(len(source_hz), len(output_hz))
    source, output = source_hz[:frames], output_hz[:frames]
    both = (source > 0) & (output > 0)
    voicing_error = float(np.mean((source > 0) != (output > 0))) if frames else np.nan
    if both.sum() < MIN_FRAMES:
        return PitchAgreement(np.nan, np.nan, voicing_error)
    first, second = (12 * np.log2(f0[both].astype(np.float64)) for f0 in (source, output))
    first, second = first - first.mean(), second - second.mean()
    rmse = float(np.sqrt(np.mean(np.square(first - second))))
    power = float(np.sqrt(np.mean(first**2) * np.mean(second**2)))
    correlation = float(np.mean(first * second)) / power if power > 0 else np.nan
    return PitchAgreement(correlation, rmse, voicing_error)
