"""Long-term spectra: what of a speaker's timbre a signal model can see and move.

A long-term spectrum is the mean log envelope of voiced frames in 32 mel bands (natural logarithm
of power, ``[BANDS]``), freed of level. From two of them come the vocal-tract ratio (how much
longer or shorter one tract is) and the equaliser between the speakers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fast_vc_service.contract import SAMPLE_RATE_IN
from fast_vc_service.models.world.analysis import BINS, HOP, DoubleArray

BANDS = 32
LOWEST_HZ = 80.0

TRACT_RATIO_LIMIT = 1.25
"""Formants move by at most this factor, up or down."""

EQUALISER_LIMIT = 12.0 * np.log(10.0) / 10.0
"""Most the equaliser raises or lowers a band: 12 dB, as a natural logarithm of power."""

PRIOR_S = 1.5
"""Seconds of voiced speech that the neutral prior counts for."""

FROZEN_S = 10.0
"""Seconds of voiced speech after which the source's spectrum is taken as known."""

# Over pairs of speakers the best-fitting ratio follows register^0.22 (correlation 0.65): shorter
# vocal folds come with a shorter tract. This is what is believed before any spectrum is seen.
_REGISTER_EXPONENT = 0.22
# Gaussian likelihood of the spectral misfit (7 independent values, variance 0.5) against a prior
# of 8 % around the register's guess, both in units of the mean squared misfit.
_CERTAINTY = 7.0
_GUESS_WEIGHT = 11.0

# Median over speakers of both sexes; the lowest and highest bands vary most with the microphone.
_PRIOR_SPECTRUM = np.array(
    [
        *(6.8, 6.6, 5.8, 5.5, 5.1, 4.3, 3.2, 2.1, 1.7, 1.3, 1.1, 0.7, 0.2, 0.1, -0.2, -0.3),
        *(-0.7, -1.0, -0.9, -1.0, -1.2, -1.4, -1.7, -2.2, -2.9, -3.1, -3.1, -4.1, -4.7, -5.0),
        *(-5.4, -5.5),
    ]
)

_BIN_HZ = np.linspace(0.0, SAMPLE_RATE_IN / 2, BINS)


def _mel(hz: DoubleArray | float) -> DoubleArray:
    return np.asarray(1127.0 * np.log1p(np.asarray(hz) / 700.0), dtype=np.float64)


_EDGES_MEL = np.linspace(_mel(LOWEST_HZ), _mel(SAMPLE_RATE_IN / 2), BANDS + 2)
_CENTRES_MEL = _EDGES_MEL[1:-1]
_CENTRES_HZ = 700.0 * np.expm1(_CENTRES_MEL / 1127.0)


def _pooling() -> DoubleArray:
    """Return the triangular pooling ``[BINS, BANDS]``, each band's weights summing to 1."""
    mel = _mel(_BIN_HZ)[:, None]
    width = _EDGES_MEL[1] - _EDGES_MEL[0]
    weights = np.maximum(0.0, 1.0 - np.abs(mel - _CENTRES_MEL) / width)
    pooled: DoubleArray = weights / weights.sum(axis=0)
    return pooled


def _interpolation(at_mel: DoubleArray) -> DoubleArray:
    """Return ``[len(at_mel), BANDS]``: linear interpolation of band values, held at both ends."""
    columns = [np.interp(at_mel, _CENTRES_MEL, unit) for unit in np.eye(BANDS)]
    return np.stack(columns, axis=1)


_POOLING = _pooling()
_SPREADING = _interpolation(_mel(_BIN_HZ))
_RATIOS = np.geomspace(1.0 / TRACT_RATIO_LIMIT, TRACT_RATIO_LIMIT, 33)
_WARPS = np.stack([_interpolation(_mel(_CENTRES_HZ / ratio)) for ratio in _RATIOS])
# Formants sit here, and a telephone passes it; lower is pitch and room, higher is microphone.
_FORMANT_BANDS = np.flatnonzero((_CENTRES_HZ > 250.0) & (_CENTRES_HZ < 3300.0))


def _detrending() -> DoubleArray:
    """Return the projection that takes mean and slope out of the formant bands."""
    count = len(_FORMANT_BANDS)
    line, _ = np.linalg.qr(np.stack([np.ones(count), np.arange(count)], axis=1))
    projection: DoubleArray = np.eye(count) - line @ line.T
    return projection


# Level and slope say how loud and through what was spoken, not how long the tract is.
_DETRENDING = _detrending()


def band_spectra(log_envelope: DoubleArray) -> DoubleArray:
    """Pool ``[T, BINS]`` to ``[T, BANDS]``, each frame freed of its level."""
    bands = log_envelope @ _POOLING
    levelled: DoubleArray = bands - bands.mean(axis=1, keepdims=True)
    return levelled


def band_gain_to_bins(gain: DoubleArray) -> DoubleArray:
    """Interpolate band values ``[..., BANDS]`` to ``[..., BINS]``."""
    bins: DoubleArray = gain @ _SPREADING.T
    return bins


@dataclass(frozen=True)
class SpeakerSpectrum:
    """Running long-term spectrum of a speaker, begun from a neutral prior.

    Attributes:
        voiced_s: Seconds of voiced speech heard.
        mean: ``[BANDS]``.
    """

    voiced_s: float = 0.0
    mean: DoubleArray = field(default_factory=_PRIOR_SPECTRUM.copy, repr=False)

    def heard(self, spectra: DoubleArray) -> SpeakerSpectrum:
        """Return the spectrum after the voiced frames ``[T, BANDS]``; frozen after 10 s."""
        if len(spectra) == 0 or self.voiced_s >= FROZEN_S:
            return self
        new_s = len(spectra) * HOP / SAMPLE_RATE_IN
        known_s = PRIOR_S + self.voiced_s
        mean = (known_s * self.mean + new_s * spectra.mean(axis=0)) / (known_s + new_s)
        return SpeakerSpectrum(self.voiced_s + new_s, mean)


def tract_ratio(source: DoubleArray, target: DoubleArray, log_register_ratio: float) -> float:
    """Estimate how much higher the target's formants lie than the source's.

    The ratio under which the source's spectrum, stretched along frequency, takes the target's
    shape; weighed against what the registers suggest, since two speakers say different things.

    Args:
        source: Long-term spectrum ``[BANDS]``.
        target: Long-term spectrum ``[BANDS]``.
        log_register_ratio: Natural logarithm of target F0 over source F0.

    Returns:
        Ratio between 1 / 1.25 and 1.25, the mean over its posterior distribution.
    """
    misfit = ((_WARPS @ source - target)[:, _FORMANT_BANDS] @ _DETRENDING) ** 2
    surprise = np.log(_RATIOS) - _REGISTER_EXPONENT * log_register_ratio
    cost = misfit.mean(axis=1) + _GUESS_WEIGHT * surprise**2
    weight = np.exp(-_CERTAINTY * (cost - cost.min()))
    return float(np.exp(weight @ np.log(_RATIOS) / weight.sum()))


def equaliser(source: DoubleArray, target: DoubleArray, ratio: float) -> DoubleArray:
    """Return the log power gain ``[BANDS]`` from the source, warped by ``ratio``, to the target."""
    warped = _interpolation(_mel(_CENTRES_HZ / ratio)) @ source
    gain = target - warped
    padded = np.pad(gain, 1, mode="edge")
    smooth = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    bounded: DoubleArray = np.clip(smooth - smooth.mean(), -EQUALISER_LIMIT, EQUALISER_LIMIT)
    return bounded
