"""Whether speech lacks what a telephone does not pass, most fundamentals, and how to hear them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray

DoubleArray = npt.NDArray[np.float64]

_LOW_HZ, _MIDDLE_HZ = (70.0, 280.0), (300.0, 1500.0)
_LEAST_SHARE = 10**-1.1
"""Least power of the low band over the middle one's: full speech has -8 dB and more, what passed
a band from 300 Hz on (order 6 and more) -12 dB and less."""

_HIGHEST_HZ, _HIGHEST_BAND_HZ, _COMPRESSED = 700.0, 2500.0, 0.3
_HIGH_VOICE = 0.32
"""Least likeness (spectra compressed and cut at 2.5 kHz, so that formants count little) after a
period of 280 to 700 Hz of voices that begin there by nature: children have 0.35 to 0.5, an even
tone 0.7; what passed a telephone 0.08 to 0.16, a high woman 0.29."""

_RESTORED_HZ, _SLOW = 900.0, 401

_FRAME = 512
_LOUD = 1e-2
_hz = np.fft.rfftfreq(2 * _FRAME, 1 / SAMPLE_RATE_IN)


def lacks_lows(speech: FloatArray) -> bool:
    """Tell whether ``speech`` ``[n]`` at 16 kHz lost what it had below 280 Hz.

    It has hardly anything there, and does not repeat itself as a voice that begins above does.
    """
    power = _loud_frames(speech)
    if not _is_thin(power):
        return False
    even = np.where(_hz < _HIGHEST_BAND_HZ, power**_COMPRESSED, 0.0)
    own = np.fft.irfft(even)[:, :_FRAME]
    lags = slice(round(SAMPLE_RATE_IN / _HIGHEST_HZ), round(SAMPLE_RATE_IN / _LOW_HZ[1]))
    likeness = own[:, lags].max(1) / np.maximum(own[:, 0], 1e-12)
    return bool(likeness.mean() < _HIGH_VOICE)


def is_thin(speech: FloatArray) -> bool:
    """Tell whether ``speech`` ``[n]`` at 16 kHz has hardly anything below 280 Hz.

    What came through a telephone, and voices that begin above by nature.
    """
    return _is_thin(_loud_frames(speech))


def _loud_frames(speech: FloatArray) -> DoubleArray:
    """Power spectra ``[frames, bins]`` of the loud frames."""
    count = len(speech) // _FRAME
    frames = speech[: count * _FRAME].reshape(count, _FRAME) * np.hanning(_FRAME)
    power: DoubleArray = np.square(np.abs(np.fft.rfft(frames, 2 * _FRAME)))
    heard = power[:, (_hz >= _LOW_HZ[0]) & (_hz < _MIDDLE_HZ[1])].sum(1)
    loud: DoubleArray = power[heard > _LOUD * heard.max(initial=0.0)]
    return loud


def _is_thin(power: DoubleArray) -> bool:
    low, middle = (
        float(power[:, (_hz >= first) & (_hz < last)].sum())
        for first, last in (_LOW_HZ, _MIDDLE_HZ)
    )
    return low < _LEAST_SHARE * middle


def with_fundamental(signal: DoubleArray) -> DoubleArray:
    """Return a signal ``[n]`` that swings at the fundamental which ``signal`` at 16 kHz lacks.

    Harmonics beat at the distance between them: rectified, they give the fundamental back. Only
    what it takes to find F0 is kept, and nothing slower than 40 Hz.
    """
    beats = np.abs(signal)
    slow = np.hanning(_SLOW + 2)[1:-1]
    beats -= np.convolve(np.pad(beats, _SLOW // 2, "edge"), slow / slow.sum(), "valid")
    taps = np.arange(-32, 33)
    low_pass = np.sinc(2.0 * _RESTORED_HZ / SAMPLE_RATE_IN * taps) * np.hamming(65)
    restored: DoubleArray = np.convolve(np.pad(beats, 32), low_pass / low_pass.sum(), "valid")
    return restored
