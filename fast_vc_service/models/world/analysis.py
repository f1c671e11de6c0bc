"""WORLD analysis of one window: F0, spectral envelope and aperiodicity every 5 ms.

DIO zeroes F0 close to both ends of its signal. The right end is where the newest speech is, so the
signal is continued there by its mirror image: a voiced sound stays periodic across the mirror, and
F0 becomes usable 40 ms before the end instead of 80 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyworld

from fast_vc_service.audio.bandwidth import with_fundamental
from fast_vc_service.audio.periodicity import is_periodic
from fast_vc_service.contract import SAMPLE_RATE_IN

DoubleArray = npt.NDArray[np.float64]

HOP = SAMPLE_RATE_IN // 200
"""Samples at 16 kHz between frames (5 ms)."""

FFT_SIZE = 1024
BINS = FFT_SIZE // 2 + 1

F0_FLOOR_HZ = 60.0
F0_CEIL_HZ = 700.0

POWER_FLOOR = 1e-12
"""Least power of an envelope bin: -120 dB, so that logarithms stay finite."""

VOICED_POWER_FLOOR = 1e-8
"""Mean square of a frame (-80 dBFS) below which an F0 is taken for chance."""

_FRAME_MS = 1000.0 * HOP / SAMPLE_RATE_IN
_MIRROR = 12 * HOP
_LEVEL_WINDOW = np.hanning(13)[1:-1]
_LEVEL_LIMIT = 2.0
_UNVOICED_APERIODICITY = 1.0 - 1e-12
_APERIODICITY_STRIDE = 2  # D4C is the dearest part and its result the smoothest


@dataclass(frozen=True)
class Frames:
    """Parameters of T frames, the first at sample ``first * HOP`` of the window.

    Attributes:
        first: Index of the first frame in the window.
        f0_hz: ``[T]``; 0 where unvoiced.
        envelope: ``[T, BINS]`` power; a frame's sum over the full FFT, divided by
            ``FFT_SIZE``, is its mean square.
        aperiodicity: ``[T, BINS]`` in [0, 1], share of the amplitude that is noise.
    """

    first: int
    f0_hz: DoubleArray
    envelope: DoubleArray
    aperiodicity: DoubleArray


def mean_square(envelope: DoubleArray) -> DoubleArray:
    """Return the mean square ``[T]`` of a signal with this power envelope ``[T, BINS]``."""
    total: DoubleArray = 2.0 * envelope.sum(axis=1) - envelope[:, 0] - envelope[:, -1]
    return total / FFT_SIZE


def analyse(
    audio: npt.NDArray[np.floating], first: int = 0, *, lacks_fundamental: bool = False
) -> Frames:
    """Analyse ``[samples]`` at 16 kHz from frame ``first`` to its end.

    F0 is searched in the whole signal, the rest computed for the wanted frames only. Where the
    fundamental is missing, as behind a telephone, it is searched in what its harmonics beat with.
    """
    count = len(audio) // HOP + 1
    mirrored = audio[-2 : -2 - _MIRROR : -1]
    signal = np.ascontiguousarray(np.concatenate([audio, mirrored]), dtype=np.float64)
    searched = with_fundamental(signal) if lacks_fundamental else signal
    f0_hz, times_s = pyworld.dio(
        searched,
        SAMPLE_RATE_IN,
        f0_floor=F0_FLOOR_HZ,
        f0_ceil=F0_CEIL_HZ,
        frame_period=_FRAME_MS,
    )
    wanted = slice(first, count)
    f0_hz = np.ascontiguousarray(f0_hz[wanted])
    times_s = np.ascontiguousarray(times_s[wanted])
    f0_hz = pyworld.stonemask(searched, f0_hz, times_s, SAMPLE_RATE_IN)
    f0_hz = np.where(is_periodic(signal, f0_hz, HOP, first), f0_hz, 0.0)
    envelope = pyworld.cheaptrick(
        signal, f0_hz, times_s, SAMPLE_RATE_IN, f0_floor=F0_FLOOR_HZ, fft_size=FFT_SIZE
    )
    envelope = np.maximum(envelope, POWER_FLOOR)
    envelope *= _level_correction(signal, envelope, first)[:, None]
    f0_hz = np.where(mean_square(envelope) >= VOICED_POWER_FLOOR, f0_hz, 0.0)
    aperiodicity = _aperiodicity(signal, f0_hz, times_s)
    # D4C also judges voicing: by how little lies above 4 kHz.
    f0_hz = np.where(aperiodicity[:, 0] < 0.5, f0_hz, 0.0)
    return Frames(first, f0_hz, envelope, aperiodicity)


def _level_correction(signal: DoubleArray, envelope: DoubleArray, first: int) -> DoubleArray:
    """Return what CheapTrick's power ``[T]`` lacks to the signal's over the 50 ms around.

    Smoothing in the log domain makes voiced envelopes 1 to 2 dB too strong, by voice.
    """
    squares = np.pad(signal**2, HOP // 2)
    heard = squares[: len(squares) // HOP * HOP].reshape(-1, HOP).mean(axis=1)
    heard = heard[first : first + len(envelope)] + POWER_FLOOR
    ratio = np.convolve(heard, _LEVEL_WINDOW, "same") / np.convolve(
        mean_square(envelope), _LEVEL_WINDOW, "same"
    )
    corrected: DoubleArray = np.clip(ratio, 1.0 / _LEVEL_LIMIT, _LEVEL_LIMIT)
    return corrected


def _aperiodicity(signal: DoubleArray, f0_hz: DoubleArray, times_s: DoubleArray) -> DoubleArray:
    """Run D4C on every second frame and give the others the geometric mean of their neighbours."""
    sparse: DoubleArray = pyworld.d4c(
        signal,
        np.ascontiguousarray(f0_hz[::_APERIODICITY_STRIDE]),
        np.ascontiguousarray(times_s[::_APERIODICITY_STRIDE]),
        SAMPLE_RATE_IN,
        fft_size=FFT_SIZE,
    )
    left = np.arange(len(f0_hz)) // 2
    right = np.minimum((np.arange(len(f0_hz)) + 1) // 2, len(sparse) - 1)
    voiced = sparse[:, 0] < 0.5
    # Next to an unvoiced frame the mean would be neither: the voiced neighbour decides alone.
    left, right = np.where(voiced[left], left, right), np.where(voiced[right], right, left)
    dense = np.sqrt(sparse[left] * sparse[right])
    dense[f0_hz <= 0.0] = _UNVOICED_APERIODICITY
    return dense
