"""From source frames to target frames: register, formants, spectral balance; level kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from fast_vc_service.models.world.analysis import (
    BINS,
    POWER_FLOOR,
    DoubleArray,
    Frames,
    mean_square,
)
from fast_vc_service.models.world.timbre import (
    SpeakerSpectrum,
    band_gain_to_bins,
    equaliser,
    tract_ratio,
)
from fast_vc_service.models.world.voice import Target

LOWEST_F0_HZ = 50.0
HIGHEST_F0_HZ = 1000.0

LIVELINESS_LIMIT = 1.4
"""Pitch movements grow or shrink by at most this factor."""

_SEMITONE = math.log(2.0) / 12.0
# Measured over pairs of speakers: of what two long-term spectra of voiced sounds differ by, the
# unvoiced sounds differ by 0.4.
_UNVOICED_SHARE = 0.4
_VOICING_SMOOTHER = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9.0


@dataclass(frozen=True)
class Mapping:
    """How frames are changed.

    Attributes:
        slope: Factor on log F0.
        offset: Added to it.
        log_ratio: Natural logarithm of the factor on formant frequencies.
        gain: Log power gain ``[BANDS]``.
    """

    slope: float
    offset: float
    log_ratio: float
    gain: DoubleArray = field(repr=False)


def derive(
    median_log_f0: float,
    spread: float,
    spectrum: SpeakerSpectrum,
    target: Target,
    pitch_shift: float,
) -> Mapping:
    """Derive the mapping from what is known of the source (register and spectrum) to a target.

    ``pitch_shift`` in semitones moves F0 on top of the target's register, formants stay.
    """
    slope = float(np.clip(target.spread / spread, 1 / LIVELINESS_LIMIT, LIVELINESS_LIMIT))
    offset = target.median_log_f0 - slope * median_log_f0 + pitch_shift * _SEMITONE
    ratio = tract_ratio(spectrum.mean, target.spectrum, target.median_log_f0 - median_log_f0)
    gain = equaliser(spectrum.mean, target.spectrum, ratio)
    return Mapping(slope, offset, float(np.log(ratio)), gain)


def map_f0(f0_hz: DoubleArray, before: Mapping, after: Mapping, glide: DoubleArray) -> DoubleArray:
    """Map ``[T]``; ``glide`` ``[T]`` goes from 0 (``before`` holds) to 1 (``after`` holds)."""
    voiced = f0_hz > 0.0
    log_f0 = np.log(np.where(voiced, f0_hz, 1.0))
    slope = before.slope + glide * (after.slope - before.slope)
    offset = before.offset + glide * (after.offset - before.offset)
    mapped = np.clip(np.exp(slope * log_f0 + offset), LOWEST_F0_HZ, HIGHEST_F0_HZ)
    return np.where(voiced, mapped, 0.0)


def map_envelope(
    frames: Frames, before: Mapping, after: Mapping, glide: DoubleArray
) -> DoubleArray:
    """Return log power envelopes ``[T, BINS]``: warped, equalised, each with its own power."""
    voicing = np.convolve((frames.f0_hz > 0.0).astype(np.float64), _VOICING_SMOOTHER, "same")
    share = _UNVOICED_SHARE + (1.0 - _UNVOICED_SHARE) * voicing
    log_ratio = share * (before.log_ratio + glide * (after.log_ratio - before.log_ratio))
    gain = np.stack([before.gain, after.gain])
    weights = np.stack([share * (1.0 - glide), share * glide], axis=1)
    moved = _warp(np.log(frames.envelope), np.exp(-log_ratio))
    moved += weights @ band_gain_to_bins(gain)
    level = mean_square(frames.envelope) / mean_square(np.exp(moved))
    moved += np.log(level)[:, None]
    return np.maximum(moved, np.log(POWER_FLOOR))


def _warp(spectra: DoubleArray, stretch: DoubleArray) -> DoubleArray:
    """Read each row of ``[T, BINS]`` at ``stretch[t]`` times the frequency."""
    position = np.minimum(np.arange(BINS) * stretch[:, None], BINS - 1.0)
    lower = np.minimum(position.astype(np.intp), BINS - 2)
    weight = position - lower
    at_lower = np.take_along_axis(spectra, lower, axis=1)
    at_upper = np.take_along_axis(spectra, lower + 1, axis=1)
    warped: DoubleArray = at_lower + weight * (at_upper - at_lower)
    return warped
