"""Speech in frames of 20 ms at 16 kHz: how loud, where it is speech, and where it pauses."""

from __future__ import annotations

import numpy as np

from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray

FRAME = SAMPLE_RATE_IN // 50


def power(audio: FloatArray) -> np.ndarray:
    frames = audio[: len(audio) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    return np.asarray((frames**2).mean(1))


def dbfs(power: np.ndarray) -> float:
    return float(10 * np.log10(power.mean() + 1e-20))


def is_speech(audio: FloatArray) -> np.ndarray:
    loud = power(audio)
    return np.asarray(loud > loud.max() * 10**-2.5)


def is_pause(audio: FloatArray) -> np.ndarray:
    """Frames of silence with as much around them that no delay or tail reaches them."""
    heard = (power(audio) > 1e-7).astype(float)
    return np.asarray(np.convolve(heard, np.ones(15), "same") == 0)
