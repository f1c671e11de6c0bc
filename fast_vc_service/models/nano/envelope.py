"""What the vocoder speaks from: the smooth spectral envelope, without the harmonics of the voice.

WORLD's CheapTrick takes the harmonics out (Morise 2015), so pitch lives in F0 alone and the two
cannot contradict each other. Only references and training data are analysed like this; in a
conversion the network makes the frames.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pyworld
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 24_000
HOP_SAMPLES = 240
BANDS = 80
FLOOR = 1e-5
FFT_SIZE = 1024

BANDS_BELOW_7K6 = 68
"""Bands that 16 kHz speech can fill; a reference is heard through these alone."""

FloatArray = NDArray[np.float32]

_LOW_HZ, _HIGH_HZ = 60.0, 12_000.0


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127.0 * np.log1p(hz / 700.0)


@cache
def filters(sample_rate_hz: int = SAMPLE_RATE_HZ) -> NDArray[np.float64]:
    """Triangles of unit sum [BANDS, FFT_SIZE / 2 + 1] on the HTK mel scale, 60 Hz to 12 kHz.

    At a lower sample rate the bands above its half are empty.
    """
    bins = _mel(np.fft.rfftfreq(FFT_SIZE, 1 / sample_rate_hz).astype(np.float64))
    low, high = _mel(np.asarray([_LOW_HZ, _HIGH_HZ]))
    edges = np.linspace(low, high, BANDS + 2)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(np.minimum(rising, falling), 0.0)
    return np.asarray(triangles / np.maximum(triangles.sum(1, keepdims=True), 1e-12))


def envelope(samples: FloatArray, f0_hz: FloatArray) -> FloatArray:
    """Log amplitude of the envelope in mel bands every 10 ms.

    Args:
        samples: [n * HOP_SAMPLES] at 24 kHz.
        f0_hz: [n], at the middle of each hop; 0 where unvoiced.

    Returns:
        [n, BANDS]; a voice of -26 dBFS has about -4 where it is loud. Never below log(FLOOR).
    """
    frames = len(samples) // HOP_SAMPLES
    times = (np.arange(frames) + 0.5) * HOP_SAMPLES / SAMPLE_RATE_HZ
    # CheapTrick adapts its window to F0 and wants no silence exactly at zero.
    wide = samples.astype(np.float64)
    power = pyworld.cheaptrick(
        wide, f0_hz[:frames].astype(np.float64), times, SAMPLE_RATE_HZ, fft_size=FFT_SIZE
    )
    return np.log(np.sqrt(power @ filters().T) + FLOOR).astype(np.float32)
