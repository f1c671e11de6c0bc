"""The spectral shape of the source, moved to the target's long-term spectrum.

What the acoustic model makes of people it never heard is clean but blurs their words; the source's
own envelope has every word and the wrong mouth. Moved so that it has the target's spectrum on
average and mixed with what the model makes, it gives the words back and costs little
likeness (``docs/performance.md``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt
import pyworld

from fast_vc_service.models.nano import envelope
from fast_vc_service.models.nano.envelope import BANDS_BELOW_7K6
from fast_vc_service.models.nano.spectrum import HOP_SAMPLES, SAMPLE_RATE_HZ

FloatArray = npt.NDArray[np.float32]

FFT_SIZE = 1024
HISTORY_SAMPLES = 1600
"""Room for a look-ahead of 60 ms and half a window of the lowest voice."""

LOUD = 4.0
"""Frames whose log energy lies no further below the speech level say what a mouth is like."""

TRACT_SHARE, TRACT_RANGE = 0.3, (0.85, 1.18)

FRAME_S, PRIOR_S, MEMORY_S = 0.01, 1.0, 10.0

# The mean of the training voices, relative to the speech level.
_AVERAGE = (
    *(0.66, 0.68, 0.68, 0.67, 0.63, 0.56, 0.48, 0.4, 0.32, 0.23, 0.11, -0.01, -0.19, -0.39, -0.6),
    *(-0.79, -0.96, -1.1, -1.21, -1.29, -1.36, -1.43, -1.5, -1.58, -1.67, -1.75, -1.82, -1.88),
    *(-1.93, -1.96, -1.99, -2.02, -2.04, -2.06, -2.09, -2.13, -2.15, -2.14, -2.11, -2.11, -2.11),
    *(-2.13, -2.17, -2.23, -2.3, -2.37, -2.42, -2.48, -2.57, -2.69, -2.82, -2.92, -3.02, -3.08),
    *(-3.18, -3.3, -3.44, -3.56, -3.7, -3.76, -3.82, -3.91, -3.93, -3.88, -3.86, -3.84, -3.8),
    -3.75,
)

# The same sound has a higher density a sample at the envelope's rate.
_TO_ENVELOPE_RATE = 0.5 * np.log(envelope.SAMPLE_RATE_HZ / SAMPLE_RATE_HZ)


@dataclass(frozen=True)
class SourceEnvelope:
    """What a session keeps of its source; immutable.

    Attributes:
        mean: [BANDS_BELOW_7K6] running mean of the log envelope of loud frames, relative to
            the speech level.
        heard_s: Seconds that count, at most MEMORY_S.
        samples: [HISTORY_SAMPLES] at 16 kHz, the newest.
    """

    mean: FloatArray = field(default_factory=lambda: np.asarray(_AVERAGE, np.float32))
    heard_s: float = PRIOR_S
    samples: FloatArray = field(default_factory=lambda: np.zeros(HISTORY_SAMPLES, np.float32))


@cache
def _filters() -> npt.NDArray[np.float64]:
    """The envelope's bands below 7.6 kHz over the bins at 16 kHz, [FFT_SIZE / 2 + 1, bands]."""
    return np.ascontiguousarray(envelope.filters(SAMPLE_RATE_HZ)[:BANDS_BELOW_7K6].T)


def follow(
    kept: SourceEnvelope,
    samples: FloatArray,
    f0_hz: FloatArray,
    loud: npt.NDArray[np.bool_],
    *,
    level: float,
    late: int,
) -> tuple[FloatArray, SourceEnvelope]:
    """The shape of the next frames, and what is kept.

    Args:
        kept: What was remembered.
        samples: [n * HOP_SAMPLES], the newest.
        f0_hz: [n] of the source, 0 where unvoiced, of the frames ``late`` hops behind ``samples``.
        loud: [n], which of them count.
        level: Speech level so far, log energy.
        late: At most what HISTORY_SAMPLES has room for.

    Returns:
        [n, BANDS_BELOW_7K6] log amplitudes of these frames less their running mean.
    """
    joined = np.concatenate([kept.samples, samples])
    first = HISTORY_SAMPLES - late * HOP_SAMPLES
    centres = first + (np.arange(len(f0_hz)) + 0.5) * HOP_SAMPLES
    power = pyworld.cheaptrick(
        joined.astype(np.float64),
        f0_hz.astype(np.float64),
        centres / SAMPLE_RATE_HZ,
        SAMPLE_RATE_HZ,
        fft_size=FFT_SIZE,
    )
    amplitude = np.sqrt(power @ _filters()) + envelope.FLOOR
    frames = (np.log(amplitude) + _TO_ENVELOPE_RATE - level).astype(np.float32)
    mean, heard_s = kept.mean, kept.heard_s
    for frame in frames[loud]:
        heard_s = min(heard_s + FRAME_S, MEMORY_S)
        mean = mean + (frame - mean) * np.float32(FRAME_S / heard_s)
    return frames - mean, SourceEnvelope(mean, heard_s, joined[len(samples) :])


def average(frames: FloatArray, energy: FloatArray, level: float) -> FloatArray:
    """The long-term spectrum of a clip: [bands] from frames [n, bands] and their log energies."""
    return np.asarray(frames[energy > level - LOUD].mean(0), np.float32)


@cache
def _centres() -> npt.NDArray[np.float64]:
    """[BANDS_BELOW_7K6] centre frequencies of the bands, Hz."""
    bins = np.fft.rfftfreq(envelope.FFT_SIZE, 1 / envelope.SAMPLE_RATE_HZ)
    return np.asarray(envelope.filters()[:BANDS_BELOW_7K6] @ bins)


def stretched(shape: FloatArray, octaves: float) -> FloatArray:
    """``shape`` [n, bands] in a mouth as much smaller as befits a voice ``octaves`` higher.

    Women speak an octave or a little less above men, with formants about a sixth higher.
    """
    factor = float(np.clip(2.0 ** (TRACT_SHARE * octaves), *TRACT_RANGE))
    wanted = _centres() / factor
    upper = np.clip(np.searchsorted(_centres(), wanted), 1, BANDS_BELOW_7K6 - 1)
    low, high = _centres()[upper - 1], _centres()[upper]
    share = np.clip((wanted - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return np.asarray(shape[:, upper - 1] * (1 - share) + shape[:, upper] * share, np.float32)
