"""How loud speech is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

FRAME_MS = 20
FLOOR_DB = -30.0
SILENCE_DBFS = -120.0


def active_level_dbfs(speech: FloatArray, rate_hz: int) -> float:
    """Root mean square, in dB of full scale, of the frames within 30 dB of the loudest one."""
    frame = rate_hz * FRAME_MS // 1000
    frames = len(speech) // frame
    power = np.square(speech[: frames * frame].astype(np.float64).reshape(frames, frame)).mean(1)
    loudest = power.max(initial=0.0)
    if loudest < 10 ** (SILENCE_DBFS / 10):
        return SILENCE_DBFS
    return float(10 * np.log10(power[power > loudest * 10 ** (FLOOR_DB / 10)].mean()))
