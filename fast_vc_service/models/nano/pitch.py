"""F0 of a recording, for references and training labels: two runs of WORLD's DIO that agree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyworld

from fast_vc_service.models.nano.melody import F0_MAX_HZ, F0_MIN_HZ
from fast_vc_service.models.nano.spectrum import HOP_SAMPLES, SAMPLE_RATE_HZ

VOICED, UNVOICED, UNSURE = 1, 0, -1

FloatArray = npt.NDArray[np.float32]


def pitch(x: FloatArray) -> tuple[FloatArray, npt.NDArray[np.int8]]:
    """F0 in Hz (0: none) and voicing, both every 10 ms at the middle of the hop.

    A strict and a lax run of DIO agree nearly everywhere; where they do not, voicing is UNSURE.

    Args:
        x: [samples] at 16 kHz.
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
            allowed_range=allowed_range,
        )
        voices.append(f0)
    strict, lax = voices
    refined = pyworld.stonemask(wide, strict, times, SAMPLE_RATE_HZ)[1::2][:hops]
    sure, maybe = strict[1::2][:hops] > 0, lax[1::2][:hops] > 0
    voicing = np.where(sure, VOICED, np.where(maybe, UNSURE, UNVOICED)).astype(np.int8)
    f0 = np.where(sure, refined, 0.0).astype(np.float32)
    short = hops - len(f0)
    return np.pad(f0, (0, short)), np.pad(voicing, (0, short), constant_values=UNSURE)
