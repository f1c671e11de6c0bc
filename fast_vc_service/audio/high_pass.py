"""A high-pass that keeps speech and takes away what lies below it: offset, rumble and mains hum.

Chebyshev's second kind, of order 11: flat within 0.6 dB from 80 Hz on, at least 60 dB less up to
60.5 Hz, nothing of a constant. It is causal, and what it rings on with falls by 20 dB in 60 ms; a
sharper one would ring on as a voice. A stream that begins
with an offset or a hum begins without a transient: what lies below speech is fitted in the first
80 ms, and the filter starts as though that had always been there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from fast_vc_service.contract import FloatArray

STOP_HZ, PASS_HZ = 60.5, 80.0

FIT_S = 0.08
"""Seconds in which what lies below speech is fitted."""

DoubleArray = npt.NDArray[np.float64]

# Of the prototype scipy.signal.cheby2(11, 60, 2 pi 60.5, "high", analog=True), in Hz: zero, pole
# and bandwidth of the pole of its five pairs, and the pole whose zero is at 0 Hz.
_PAIRS_HZ = (
    (59.8842, 75.03497, 12.86869),
    (55.03274, 71.22311, 37.56353),
    (45.72285, 64.3017, 59.2152),
    (32.70877, 55.80317, 76.0696),
    (17.04482, 48.31827, 86.76129),
)
_REAL_POLE_HZ = 45.21205
_FIT_HZ = np.arange(0.0, 62.6, 2.5)
_FIT_RIDGE = 1e-6
_CHUNK = 160


def high_pass(samples: FloatArray, sample_rate: int) -> FloatArray:
    """Filter a whole clip ``[n]`` at ``sample_rate`` Hz.

    Returns:
        ``[n]``; may exceed [-1, 1] where ``samples`` come near.
    """
    filtered, _ = HighPass.at(sample_rate).step(samples, None)
    return filtered


def continuation(samples: FloatArray, count: int, sample_rate: int) -> FloatArray:
    """Go on with what lies below speech at the end of a clip, as though speech had fallen silent.

    Args:
        samples: ``[n]``, the last :data:`FIT_S` seconds or fewer.
        count: Samples wanted.
        sample_rate: Hz.

    Returns:
        ``[count]`` within [-1, 1]: without an audible seam for whoever filters it.
    """
    if not len(samples) or not count:
        return np.zeros(count, np.float32)
    mean, weights = _fitted(samples, sample_rate)
    times_s = (len(samples) + np.arange(count)) / sample_rate
    return np.clip(mean + _basis(times_s) @ weights, -1.0, 1.0).astype(np.float32)


class LatestSamples:
    """The last :data:`FIT_S` seconds of a stream, from which it can be continued.

    Pieces are kept as they come and joined at the end only: pushing must cost next to nothing.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._wanted = round(FIT_S * sample_rate)
        self._pieces: deque[FloatArray] = deque()
        self._count = 0

    def add(self, samples: FloatArray) -> None:
        """Take the next ``[n]`` samples, which are not changed afterwards."""
        if not len(samples):
            return
        pieces = self._pieces
        pieces.append(samples)
        self._count += len(samples)
        while self._count - len(pieces[0]) >= self._wanted:
            self._count -= len(pieces.popleft())

    def continuation(self, count: int) -> FloatArray:
        """Return ``[count]`` samples that follow; see :func:`continuation`."""
        latest = np.concatenate([np.zeros(0, np.float32), *self._pieces])[-self._wanted :]
        return continuation(latest, count, self._sample_rate)


class HighPass:
    """The filter at one sample rate; holds no signal. Use :meth:`at`: rates share their filters.

    In double precision and by chunks: the response to a chunk is a matrix product, and only the
    state at its end is handed on, which is the recursion exactly.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._a, self._b, c, d = _state_space(sample_rate)
        order = len(self._b)
        # Row k: the state after k samples of silence.
        powers = [np.eye(order)]
        for _ in range(_CHUNK):
            powers.append(self._a @ powers[-1])
        self._powers = np.stack(powers)
        self._from_state = self._powers[:_CHUNK].transpose(0, 2, 1) @ c
        response = np.concatenate(([d], self._from_state[: _CHUNK - 1] @ self._b))
        lag = np.arange(_CHUNK)[:, None] - np.arange(_CHUNK)
        self._from_input = np.where(lag >= 0, response[lag], 0.0)
        self._to_state = (self._powers[_CHUNK - 1 :: -1] @ self._b).T

    @staticmethod
    @lru_cache(maxsize=16)
    def at(sample_rate: int) -> HighPass:
        """Return the filter at ``sample_rate`` Hz."""
        return HighPass(sample_rate)

    def step(
        self, samples: FloatArray, state: DoubleArray | None
    ) -> tuple[FloatArray, DoubleArray]:
        """Filter the next ``[n]`` samples of a stream.

        Args:
            samples: At the filter's rate, finite.
            state: What the step before returned; not changed. None where a stream begins: its
                first :data:`FIT_S` seconds should then be in ``samples``.

        Returns:
            ``[n]`` and the new state.
        """
        if state is None:
            state = self._steady_state(samples[: round(FIT_S * self.sample_rate)])
        count, rest = divmod(len(samples), _CHUNK)
        x = samples.astype(np.float64)
        chunks = x[: count * _CHUNK].reshape(count, _CHUNK)
        states = np.empty((count + 1, len(state)))
        states[0] = state
        entering, a = chunks @ self._to_state.T, self._powers[_CHUNK]
        for index in range(count):
            states[index + 1] = a @ states[index] + entering[index]
        out = np.empty(len(x))
        out[: count * _CHUNK] = (
            chunks @ self._from_input.T + states[:count] @ self._from_state.T
        ).ravel()
        state = states[count]
        if rest:
            tail = x[count * _CHUNK :]
            out[count * _CHUNK :] = (
                self._from_input[:rest, :rest] @ tail + self._from_state[:rest] @ state
            )
            state = self._powers[rest] @ state + self._to_state[:, _CHUNK - rest :] @ tail
        return out.astype(np.float32), state

    def _steady_state(self, samples: FloatArray) -> DoubleArray:
        """State of a filter that has always heard what lies below speech in ``samples``."""
        if not len(samples):
            return np.zeros(len(self._b))
        mean, weights = _fitted(samples, self.sample_rate)
        steady = self._steady
        state: DoubleArray = steady[:, 0] * mean + steady @ weights
        return state

    @cached_property
    def _steady(self) -> DoubleArray:
        """State ``[order, 2 F - 1]`` before sample 0 of each wave of :func:`_basis`."""
        turns = np.exp(2j * np.pi * _FIT_HZ / self.sample_rate)
        eye = np.eye(len(self._b))
        states = np.stack([np.linalg.solve(turn * eye - self._a, self._b) for turn in turns], 1)
        return np.concatenate([states.real, states.imag[:, 1:]], 1)


def _state_space(sample_rate: int) -> tuple[DoubleArray, DoubleArray, DoubleArray, float]:
    """The filter as s' = A s + B x, y = C s + D x: A ``[11, 11]``, B and C ``[11]``."""
    a, b, c, d = np.zeros((0, 0)), np.zeros(0), np.zeros(0), 1.0
    for top, bottom in _sections(sample_rate):
        own_a = np.diag(np.ones(len(bottom) - 2), 1)
        own_a[:, 0] -= bottom[1:]
        own_b = top[1:] - bottom[1:] * top[0]
        # In series: this section hears what those before it make.
        a = np.block([[a, np.zeros((len(a), len(own_a)))], [np.outer(own_b, c), own_a]])
        b = np.concatenate([b, own_b * d])
        c = np.concatenate([top[0] * c, np.eye(1, len(own_b))[0]])
        d *= top[0]
    return a, b, c, d


def _sections(sample_rate: int) -> Iterator[tuple[DoubleArray, DoubleArray]]:
    """Numerator and denominator of each section in powers of z^-1, by the bilinear transform."""
    turn = 2.0 * np.pi
    double = 2.0 * sample_rate

    def digital(squared: float, linear: float, constant: float) -> DoubleArray:
        powers = (squared * double**2, linear * double, constant)
        coefficients: DoubleArray = np.array([(1, 1, 1), (-2, 0, 2), (1, -1, 1)]) @ np.array(powers)
        return coefficients

    real = np.array([double + turn * _REAL_POLE_HZ, turn * _REAL_POLE_HZ - double])
    yield np.array([double, -double]) / real[0], real / real[0]
    for zero_hz, pole_hz, width_hz in _PAIRS_HZ:
        top = digital(1.0, 0.0, (turn * zero_hz) ** 2)
        bottom = digital(1.0, turn * width_hz, (turn * pole_hz) ** 2)
        yield top / bottom[0], bottom / bottom[0]


def _fitted(samples: FloatArray, sample_rate: int) -> tuple[float, DoubleArray]:
    """Mean of ``[n]``, and weights ``[2 F - 1]`` of the waves whose sum is nearest to the rest.

    Ridge regression: speech is no sum of such waves, and must not be forced to be one.
    """
    x = samples.astype(np.float64)
    mean = float(x.mean())
    waves, inverse = _regression(len(x), sample_rate)
    return mean, inverse @ (waves.T @ (x - mean))


@lru_cache(maxsize=8)
def _regression(count: int, sample_rate: int) -> tuple[DoubleArray, DoubleArray]:
    waves = _basis(np.arange(count) / sample_rate)
    # The shorter the piece, the more alike are speech and the waves.
    ridge = _FIT_RIDGE * (FIT_S * sample_rate / count) ** 4 * np.eye(waves.shape[1])
    return waves, np.linalg.inv(waves.T @ waves / count + ridge) / count


def _basis(times_s: DoubleArray) -> DoubleArray:
    """Cosines and sines of :data:`_FIT_HZ` at ``[n]`` times: ``[n, 2 F - 1]``."""
    turns = 2.0 * np.pi * np.outer(times_s, _FIT_HZ)
    return np.concatenate([np.cos(turns), np.sin(turns[:, 1:])], 1)
