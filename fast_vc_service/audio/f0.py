"""The register of a speaker from a recording: for whoever has the file before it is converted."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyworld

from fast_vc_service.audio.bandwidth import lacks_lows
from fast_vc_service.audio.high_pass import HighPass
from fast_vc_service.audio.periodicity import is_periodic
from fast_vc_service.audio.register import KNOWN_AFTER_S
from fast_vc_service.audio.resample import ClipResampler
from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray

LONGEST_S = 600.0
"""Seconds of a recording that are listened to at most."""

ENOUGH_S = 60.0
"""Seconds of voiced speech after which the rest of a recording is not listened to."""

_PIECE = 10 * SAMPLE_RATE_IN
_FRAME_S = 0.01
_HOP = round(_FRAME_S * SAMPLE_RATE_IN)
_FLOOR_HZ, _CEIL_HZ = 60.0, 700.0
_LEAST_POWER = 10**-7.5  # -75 dBFS
_FAINT = 10**-3.0  # 30 dB below the loudest voiced frame


def median_f0_hz(blocks: Iterable[FloatArray], sample_rate: int) -> float | None:
    """Return the median F0 in Hz of the voiced speech in mono blocks ``[n]`` at ``sample_rate``.

    WORLD's DIO behind the high-pass, where the signal repeats itself and is no fainter than 30 dB
    below the loudest. None for less than half a second of voiced speech; what came through a
    telephone is none, for without the fundamental DIO finds its harmonics.
    """
    found = []
    voiced_s = 0.0
    for piece in _pieces(blocks, sample_rate):
        found.append(_voiced(piece))
        voiced_s += len(found[-1][0]) * _FRAME_S
        if voiced_s >= ENOUGH_S:
            break
    if not found:
        return None
    f0_hz, power = (np.concatenate(each) for each in zip(*found, strict=True))
    loud = f0_hz[power > _FAINT * power.max(initial=0.0)]
    if len(loud) * _FRAME_S < KNOWN_AFTER_S:
        return None
    return float(np.exp(np.median(np.log(loud))))


def _pieces(blocks: Iterable[FloatArray], sample_rate: int) -> Iterable[FloatArray]:
    """Cut blocks into pieces of 10 s at 16 kHz behind the high-pass."""
    resample = ClipResampler(sample_rate, SAMPLE_RATE_IN)
    high_pass, state = HighPass.at(SAMPLE_RATE_IN), None
    waiting = np.zeros(0, np.float32)
    heard = 0
    for block in blocks:
        waiting = np.concatenate([waiting, resample.push(block)])
        while len(waiting) >= _PIECE:
            piece, state = high_pass.step(waiting[:_PIECE], state)
            yield piece
            waiting = waiting[_PIECE:]
            heard += _PIECE
        if heard >= LONGEST_S * SAMPLE_RATE_IN:
            return
    waiting = np.concatenate([waiting, resample.flush()])
    if len(waiting) > _HOP:
        yield high_pass.step(waiting, state)[0]


def _voiced(audio: FloatArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """F0 in Hz and mean square, both ``[frames]``, of the voiced frames of a piece."""
    wide = audio.astype(np.float64)
    if not len(wide) or np.square(wide).max() < _LEAST_POWER or lacks_lows(audio):
        return np.zeros(0), np.zeros(0)
    f0_hz, _ = pyworld.dio(
        wide,
        SAMPLE_RATE_IN,
        f0_floor=_FLOOR_HZ,
        f0_ceil=_CEIL_HZ,
        frame_period=1e3 * _FRAME_S,
    )
    whole = np.pad(np.square(wide), (_HOP // 2, _HOP))
    power = whole[: len(f0_hz) * _HOP].reshape(-1, _HOP).mean(1)
    f0_hz = f0_hz[: len(power)]
    voiced = is_periodic(wide, f0_hz, _HOP) & (f0_hz > 0) & (power > _LEAST_POWER)
    return f0_hz[voiced], power[voiced]
