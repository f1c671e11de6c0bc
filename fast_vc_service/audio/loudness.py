"""How loud audio is, and making one signal as loud as another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fast_vc_service.contract import FloatArray

SILENCE_DBFS = -120.0
"""What digital silence is said to be."""

_FRAME_S = 0.02
_FRAMES_A_SECOND = 100
_FLOOR_RMS = 1e-3
_MAX_GAIN = 4.0


def dbfs(samples: FloatArray) -> float:
    """Return the level (RMS) of ``samples`` in dB, a full-scale square wave being 0.

    Silence and nothing at all are :data:`SILENCE_DBFS`.
    """
    if not len(samples):
        return SILENCE_DBFS
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(SILENCE_DBFS, 10.0 * float(np.log10(max(power, 1e-30))))


def mix_rms(
    converted: FloatArray,
    converted_rate: int,
    source: FloatArray,
    source_rate: int,
    amount: float = 1.0,
) -> FloatArray:
    """Give ``converted`` the loudness contour of ``source``.

    The contours are 20 ms RMS at 100 frames a second, in between interpolated. Below -60 dBFS
    nothing is told apart, and no gain exceeds 12 dB: silence is not turned into noise.

    Args:
        converted: ``[n]`` at ``converted_rate`` Hz; covers the same time as ``source``.
        converted_rate: Hz.
        source: ``[m]`` at ``source_rate`` Hz.
        source_rate: Hz.
        amount: 0 leaves ``converted`` as loud as it is, 1 makes it as loud as ``source``.

    Returns:
        ``[n]``.
    """
    if not len(converted) or not len(source):
        return converted.copy()
    frames = np.arange(-(-len(converted) * _FRAMES_A_SECOND // converted_rate))
    own = _frames(converted, converted_rate, len(frames))
    wanted = _frames(source, source_rate, len(frames))
    gains = np.minimum((wanted / own) ** amount, _MAX_GAIN)
    times = np.arange(len(converted)) / converted_rate
    curve = np.interp(times, frames / _FRAMES_A_SECOND, gains)
    mixed: FloatArray = (converted * curve).astype(np.float32)
    return mixed


def _frames(samples: FloatArray, rate: int, count: int) -> FloatArray:
    """RMS of frames around every hundredth of a second; at the edges of what there is of them."""
    centres: npt.NDArray[np.intp] = np.arange(count) * rate // _FRAMES_A_SECOND
    begins = np.minimum(centres, len(samples) - 1) - round(_FRAME_S * rate) // 2
    sums = np.concatenate((np.zeros(1), np.cumsum(np.square(samples, dtype=np.float64))))
    first = np.clip(begins, 0, len(samples))
    last = np.clip(begins + round(_FRAME_S * rate), 0, len(samples))
    power = (sums[last] - sums[first]) / np.maximum(last - first, 1)
    envelope: FloatArray = np.sqrt(np.maximum(power, _FLOOR_RMS**2)).astype(np.float32)
    return envelope
