"""Synthesis whose overlapping windows agree: pulses and noise stand at absolute positions.

WORLD's own synthesiser starts its pulses and its noise anew with every call, so two windows over
the same speech would differ in phase and cancel where they are cross-faded. Here the pulse phase
is carried from window to window, noise is a function of (seed, absolute sample), and every 5 ms
of the excitation is filtered with its own minimum-phase response, as in WORLD.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fast_vc_service.contract import SAMPLE_RATE_IN
from fast_vc_service.models.world.analysis import BINS, FFT_SIZE, HOP, DoubleArray

_NOISE_CHUNK = 1600
_PULSE_REACH = 16  # taps to either side of a band-limited pulse
_UINT64 = 1 << 64


def noise(seed: int, start: int, count: int) -> DoubleArray:
    """Return white noise of unit variance ``[count]`` for the absolute samples from ``start``."""
    first, last = start // _NOISE_CHUNK, (start + count - 1) // _NOISE_CHUNK
    chunks = [
        np.random.Generator(np.random.Philox(key=_key(seed, chunk))).standard_normal(_NOISE_CHUNK)
        for chunk in range(first, last + 1)
    ]
    offset = start - first * _NOISE_CHUNK
    return np.concatenate(chunks)[offset : offset + count]


def _key(seed: int, chunk: int) -> npt.NDArray[np.uint64]:
    return np.array([seed % _UINT64, chunk % _UINT64], dtype=np.uint64)


def pulse_phase(f0_hz: DoubleArray, count: int, anchor: int, phase: float) -> DoubleArray:
    """Integrate F0 to the phase of ``count`` samples, in cycles.

    Args:
        f0_hz: ``[T]`` one a frame from sample 0 on; bridged where 0.
        count: Samples.
        anchor: The sample (0 to ``count - 1``) whose phase is known.
        phase: The phase there.
    """
    voiced = np.flatnonzero(f0_hz > 0.0)
    if len(voiced) == 0:
        return np.full(count, phase)
    f0_of_samples = np.interp(np.arange(count), voiced * HOP, f0_hz[voiced])
    cycles = np.cumsum(f0_of_samples) / SAMPLE_RATE_IN
    shifted: DoubleArray = cycles - cycles[anchor] + phase
    return shifted


def pulse_train(phase: DoubleArray) -> DoubleArray:
    """Return band-limited pulses ``[samples]`` of unit power at every whole cycle of ``phase``."""
    count = len(phase)
    before = np.flatnonzero(np.floor(phase[1:]) > np.floor(phase[:-1]))
    train = np.zeros(count + 2 * _PULSE_REACH)
    if len(before) == 0:
        return train[:count]
    step = phase[before + 1] - phase[before]
    fraction = (np.floor(phase[before + 1]) - phase[before]) / step
    taps = np.arange(1 - _PULSE_REACH, 1 + _PULSE_REACH)
    distance = taps - fraction[:, None]
    shape = np.sinc(distance) * np.cos(np.pi * distance / (2 * _PULSE_REACH)) ** 2
    np.add.at(train, before[:, None] + taps + _PULSE_REACH, shape / np.sqrt(step)[:, None])
    return train[_PULSE_REACH : _PULSE_REACH + count]


def minimum_phase(log_power: DoubleArray) -> npt.NDArray[np.complex128]:
    """Return the minimum-phase spectra ``[T, BINS]`` of log power envelopes ``[T, BINS]``."""
    cepstrum = np.fft.irfft(0.5 * log_power, FFT_SIZE)
    folded = np.zeros_like(cepstrum)
    folded[:, 0] = cepstrum[:, 0]
    folded[:, 1 : BINS - 1] = 2.0 * cepstrum[:, 1 : BINS - 1]
    folded[:, BINS - 1] = cepstrum[:, BINS - 1]
    spectra: npt.NDArray[np.complex128] = np.exp(np.fft.rfft(folded, FFT_SIZE))
    return spectra


def synthesise(
    pulses: DoubleArray, white: DoubleArray, log_power: DoubleArray, aperiodicity: DoubleArray
) -> DoubleArray:
    """Filter an excitation frame by frame.

    Args:
        pulses: ``[(T - 1) * HOP]`` of unit power; frame t is centred on sample ``t * HOP``.
        white: Noise of unit power, same shape.
        log_power: ``[T, BINS]`` envelopes.
        aperiodicity: ``[T, BINS]`` in [0, 1].

    Returns:
        ``[(T - 1) * HOP]``; what rings on after it is cut.
    """
    frames = len(log_power)
    window = 0.5 - 0.5 * np.cos(np.pi * np.arange(2 * HOP) / HOP)  # sums to 1 at this hop
    index = np.arange(frames)[:, None] * HOP + np.arange(2 * HOP)
    margin = (HOP, HOP)
    pulse_spectra = np.fft.rfft(np.pad(pulses, margin)[index] * window, FFT_SIZE)
    noise_spectra = np.fft.rfft(np.pad(white, margin)[index] * window, FFT_SIZE)
    excitation = np.sqrt(1.0 - aperiodicity**2) * pulse_spectra + aperiodicity * noise_spectra
    responses = np.fft.irfft(excitation * minimum_phase(log_power), FFT_SIZE)
    out = np.zeros((frames + 1) * HOP + FFT_SIZE)
    for frame, response in enumerate(responses):
        out[frame * HOP : frame * HOP + FFT_SIZE] += response
    return out[HOP : HOP + (frames - 1) * HOP]
