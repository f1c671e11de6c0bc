"""F0 of a recording, for references and training labels: two runs of WORLD's DIO that agree.

Where the signal does not repeat itself at the F0 found it is not voiced.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyworld

from fast_vc_service.audio.periodicity import is_periodic
from fast_vc_service.models.nano.f0_tracker import F0_MAX_HZ, F0_MIN_HZ
from fast_vc_service.models.nano.spectrum import HOP_SAMPLES, SAMPLE_RATE_HZ

VOICED, UNVOICED, UNSURE = 1, 0, -1

FloatArray = npt.NDArray[np.float32]

_LEAST_POWER = 10**-7.5
"""Mean square over 50 ms (-75 dBFS) of which an F0 is taken for chance: hum in a silence."""


_LEAST_MEAN_HZ = 115.0
"""What lies below on average is no voice but a tone: what the high-pass rings on with."""


def _mean_hz(x: FloatArray, hops: int) -> npt.NDArray[np.float64]:
    """Root of the mean squared frequency [hops] over 50 ms."""
    wide = x[: hops * HOP_SAMPLES].astype(np.float64)
    slope = np.diff(wide, prepend=wide[:1])
    squares = [np.square(each).reshape(-1, HOP_SAMPLES).sum(1) for each in (slope, wide)]
    rising, all_of_it = (np.convolve(each, np.ones(5), "same")[:hops] for each in squares)
    ratio = np.sqrt(rising / np.maximum(all_of_it, 1e-20))
    return np.asarray(ratio * SAMPLE_RATE_HZ / (2 * np.pi))


def pitch(x: FloatArray, decimation: int = 1) -> tuple[FloatArray, npt.NDArray[np.int8]]:
    """F0 in Hz (0: none) and voicing, both every 10 ms at the middle of the hop.

    A strict and a lax run of DIO agree nearly everywhere; where they do not, voicing is UNSURE.

    Args:
        x: [samples] at 16 kHz.
        decimation: Of what DIO looks at; 2 takes two thirds of the time and changes 2 frames in
            1000.
    """
    hops = len(x) // HOP_SAMPLES
    rng = np.random.default_rng(len(x))  # digital silence would be called voiced
    wide = x.astype(np.float64) + 1e-5 * rng.standard_normal(len(x))
    voices = []
    for allowed_range in (0.1, 0.25):
        f0, times = pyworld.dio(
            wide,
            SAMPLE_RATE_HZ,
            f0_floor=F0_MIN_HZ,
            f0_ceil=F0_MAX_HZ,
            frame_period=5.0,
            speed=decimation,
            allowed_range=allowed_range,
        )
        voices.append(f0)
    hop = HOP_SAMPLES // 2
    strict, lax = (np.where(is_periodic(wide, f0, hop), f0, 0.0) for f0 in voices)
    middle = np.ascontiguousarray(strict[1::2]), np.ascontiguousarray(times[1::2])
    refined = pyworld.stonemask(wide, *middle, SAMPLE_RATE_HZ)[:hops]
    power = np.square(x[: hops * HOP_SAMPLES].astype(np.float64)).reshape(-1, HOP_SAMPLES).mean(1)
    heard = (np.convolve(power, np.ones(5) / 5, "same") > _LEAST_POWER)[: len(refined)]
    heard &= (_mean_hz(x, hops) > _LEAST_MEAN_HZ)[: len(refined)]
    sure, maybe = (strict[1::2][:hops] > 0) & heard, (lax[1::2][:hops] > 0) & heard
    voicing = np.where(sure, VOICED, np.where(maybe, UNSURE, UNVOICED)).astype(np.int8)
    f0 = np.where(sure, refined, 0.0).astype(np.float32)
    short = hops - len(f0)
    return np.pad(f0, (0, short)), np.pad(voicing, (0, short), constant_values=UNSURE)
