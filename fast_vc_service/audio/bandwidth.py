"""Whether speech lacks what a telephone does not pass: the fundamental of most voices."""

from __future__ import annotations

import numpy as np

from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray

_LOW_HZ, _MIDDLE_HZ = (70.0, 280.0), (300.0, 1500.0)
_LEAST_SHARE = 10**-1.1
"""Least power of the low band over the middle one's: full speech has -8 dB and more, what passed
a band from 300 Hz on (order 6 and more) -12 dB and less."""

_HIGHEST_HZ, _HIGHEST_BAND_HZ, _COMPRESSED = 700.0, 2500.0, 0.3
_HIGH_VOICE = 0.32
"""Least likeness (spectra compressed and cut at 2.5 kHz, so that formants count little) after a
period of 280 to 700 Hz of voices that begin there by nature: children have 0.35 to 0.5, an even
tone 0.7; what passed a telephone 0.08 to 0.16, a high woman 0.29."""

_FRAME = 512
_LOUD = 1e-2


def lacks_lows(speech: FloatArray) -> bool:
    """Tell whether ``speech`` ``[n]`` at 16 kHz lost what it had below 280 Hz.

    It has hardly anything there, and does not repeat itself as a voice that begins above does.
    """
    count = len(speech) // _FRAME
    if not count:
        return False
    frames = speech[: count * _FRAME].reshape(count, _FRAME) * np.hanning(_FRAME)
    power = np.square(np.abs(np.fft.rfft(frames, 2 * _FRAME)))
    hz = np.fft.rfftfreq(2 * _FRAME, 1 / SAMPLE_RATE_IN)
    low, middle = (
        power[:, (hz >= first) & (hz < last)].sum(1) for first, last in (_LOW_HZ, _MIDDLE_HZ)
    )
    loud = low + middle > _LOUD * (low + middle).max()
    if low[loud].sum() >= _LEAST_SHARE * middle[loud].sum():
        return False
    even = np.where(hz < _HIGHEST_BAND_HZ, power[loud] ** _COMPRESSED, 0.0)
    own = np.fft.irfft(even)[:, :_FRAME]
    lags = slice(round(SAMPLE_RATE_IN / _HIGHEST_HZ), round(SAMPLE_RATE_IN / _LOW_HZ[1]))
    likeness = own[:, lags].max(1) / np.maximum(own[:, 0], 1e-12)
    return bool(likeness.mean() < _HIGH_VOICE)
