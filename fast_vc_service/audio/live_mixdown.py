"""Two channels of a live stream to one, as :mod:`.mixdown` does with files, without the future.

What was heard so far, the newest samples included, decides: the same speech in both channels (at
any delay up to 10 ms, in either phase) comes from the louder one, different speech is added, and
what never rises above its own floor is left out. Nothing is delayed; a decision that changes is
cross-faded.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from fast_vc_service.audio.high_pass import DoubleArray, HighPass
from fast_vc_service.audio.mixdown import (
    ABOVE_FLOOR,
    BAND_HZ,
    FAINT,
    FLOOR_PERCENTILE,
    LEAST_SUM_GAIN,
    LONGEST_DELAY_S,
    LOUDER,
    PREEMPHASIS,
    SAME_SPEECH,
    UNHEARD,
)
from fast_vc_service.contract import FloatArray

FADE_S = 0.05

_FRAME_S = 0.02
_RECENT = 5
"""Frames over which loudness and likeness are compared."""

_REMEMBERED = 250
"""Frames from which a channel's floor and the level of its speech are known: 5 s."""

_A_WORD = 25
"""Frames that sound must last to count in full: half a second; a click counts for less."""

_STEADY = 1e-3

_SETTLING = 5
"""First frames that are forgotten once there are others: the filter rings in mid-hum."""

_FORGETTING = float(np.exp(-_FRAME_S / 1.5))
_STILL_SAME = 0.5
_PLAINLY_LOUDER = 1.26  # 1 dB
_PLAIN, _TURNED = 0.9, 3
"""Correlation and number of frames that tell a phase which has changed."""

_OPPOSED = 0.3
"""Correlation below zero from which one channel is turned round; talkers differ by less."""

_NOTICEABLE = 0.02


class LiveMixdown:
    """Mixes a stream of two channels.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._heard = _Heard(sample_rate)
        self._fade = max(1, round(FADE_S * sample_rate))
        self._left = 0
        self._decided = False
        self._same = True
        self._chosen = 0
        self._signs = np.ones(2)
        self._from = np.array([1.0, 0.0])
        self._gains = np.array([1.0, 0.0])

    def push(self, samples: FloatArray) -> FloatArray:
        """Mix ``[n, 2]`` to ``[n]`` within [-1, 1]."""
        if not len(samples):
            return np.zeros(0, np.float32)
        measured = self._heard.push(samples)
        if measured is not None:
            self._decide(measured)
        gains = self._run(len(samples))
        mixed = (gains * samples).sum(1)
        return np.asarray(np.clip(mixed, -1.0, 1.0), np.float32)

    def _decide(self, heard: _Measured) -> None:
        signs, same = self._signs, self._same
        self._same = abs(heard.likeness) >= (_STILL_SAME if same else SAME_SPEECH) or heard.deaf
        likeness = heard.likeness if self._same and not heard.deaf else heard.side_by_side
        if likeness * signs.prod() < -_OPPOSED:
            signs[int(np.argmin(np.abs(self._gains)))] *= -1.0
        louder = int(np.argmax(heard.speech))
        if heard.speech[1 - louder] <= FAINT * heard.speech[louder]:
            self._chosen = louder
            wanted = _only(louder, signs)
        elif self._same:
            self._choose(heard, louder)
            wanted = _only(self._chosen, signs)
        else:
            total = heard.speech.sum() / heard.speech.max()
            alike = max(-_OPPOSED, heard.side_by_side * signs.prod())
            gain = max(LEAST_SUM_GAIN, 1.0 / np.sqrt(total)) / np.sqrt(1.0 + alike)
            wanted = min(gain, 1.0) * signs
        self._go_to(wanted)

    def _choose(self, heard: _Measured, louder: int) -> None:
        """Take the channel with more speech; another only while it is much louder just then."""
        now, other = self._chosen, 1 - self._chosen
        much_louder = heard.recent[other] > LOUDER * heard.recent[now]
        in_all = other == louder and heard.speech[other] > _PLAINLY_LOUDER * heard.speech[now]
        if much_louder or (in_all and heard.recent[other] >= heard.recent[now]):
            self._chosen = other

    def _go_to(self, wanted: DoubleArray) -> None:
        if not self._decided:
            self._decided = True
            self._from = self._gains = wanted
        elif np.abs(wanted - self._gains).max() > _NOTICEABLE:
            self._from, self._gains = self._now(), wanted
            self._left = self._fade

    def _now(self) -> DoubleArray:
        return np.asarray(self._gains + (self._from - self._gains) * (self._left / self._fade))

    def _run(self, count: int) -> DoubleArray:
        """Gains ``[count, 2]`` of the next samples."""
        left = np.maximum(self._left - 1 - np.arange(count), 0) / self._fade
        self._left = max(0, self._left - count)
        return np.asarray(self._gains + (self._from - self._gains) * left[:, None])


class _Measured:
    """What was heard of two channels so far.

    Attributes:
        speech: ``[2]`` power of what rises above a channel's own floor; what is steady counts
            for 30 dB less.
        recent: ``[2]`` power of the newest 100 ms.
        likeness: Correlation at the delay where it is greatest; its sign tells the phase.
        side_by_side: Correlation without delay.
        deaf: Whether one of them has been silent, so that likeness says nothing.
    """

    def __init__(
        self, power: DoubleArray, correlation: DoubleArray, energy: npt.NDArray[np.float64]
    ) -> None:
        floor = np.percentile(power, FLOOR_PERCENTILE, axis=0)
        rising = power > ABOVE_FLOOR * floor
        speech = np.where(rising, power, 0.0).sum(0) / np.maximum(rising.sum(0), _A_WORD)
        # Who sets in just now is not weighed against all that was said before.
        speech = np.maximum(speech, np.where(rising[-1], power[-1], 0.0))
        # A long vowel at the very beginning has not risen above anything yet.
        self.speech = np.maximum(speech, _STEADY * power.mean(0))
        self.recent = power[-_RECENT:].mean(0)
        scaled = correlation / (np.sqrt(energy.prod()) + 1e-20)
        self.likeness = float(scaled[np.argmax(np.abs(scaled))])
        self.side_by_side = float(scaled[len(scaled) // 2])
        self.deaf = bool(energy.min() < UNHEARD)


class _Heard:
    """Measures a stream of two channels every 20 ms, above what lies below speech."""

    def __init__(self, sample_rate: int) -> None:
        self._filter = HighPass.at(sample_rate)
        self._states: list[DoubleArray | None] = [None, None]
        self._every = max(1, sample_rate // BAND_HZ)
        self._frame = round(_FRAME_S * sample_rate / self._every)
        self._lags = round(LONGEST_DELAY_S * sample_rate / self._every)
        self._rest = np.zeros((0, 2), np.float32)
        self._last = np.zeros(2)
        self._frames = self._opposed = 0
        self._band = np.zeros((_RECENT * self._frame, 2))
        self._power: deque[DoubleArray] = deque(maxlen=_REMEMBERED)
        self._correlation = np.zeros(2 * self._lags + 1)
        self._energy = np.zeros(2)

    def push(self, samples: FloatArray) -> _Measured | None:
        """Take ``[n, 2]``; None while nothing was heard at all."""
        heard = np.empty_like(samples)
        for channel in range(2):
            filtered = self._filter.step(samples[:, channel], self._states[channel])
            heard[:, channel], self._states[channel] = filtered
        rest = np.concatenate([self._rest, heard])
        size = self._frame * self._every
        count = len(rest) // size
        for frame in rest[: count * size].reshape(count, self._frame, self._every, 2):
            self._take(frame.mean(1, dtype=np.float64))
        self._rest = rest[count * size :]
        if self._power:
            return self._measured() if self._energy.any() else None
        # Less than a frame so far: it is all there is to decide by.
        begun = self._rest[: len(self._rest) // self._every * self._every]
        band = begun.reshape(-1, self._every, 2).mean(1, dtype=np.float64)
        if not np.square(band).sum() > 0.0:
            return None
        middle = np.zeros(2 * self._lags + 1)
        middle[self._lags] = band.prod(1).sum()
        return _Measured(np.square(band).mean(0)[None], middle, np.square(band).sum(0))

    def _take(self, frame: DoubleArray) -> None:
        """Measure a whole frame ``[frame, 2]`` of the band."""
        before = np.concatenate([self._last[None], frame[:-1]])
        self._last = frame[-1]
        white = frame - PREEMPHASIS * before
        self._power.append(np.square(white).mean(0))
        self._frames += 1
        if self._frames == 3 * _SETTLING:
            for _ in range(_SETTLING):
                self._power.popleft()
        self._band = np.concatenate([self._band[len(white) :], white])
        if self._is_turned_round(white):
            self._correlation[:] = self._energy[:] = 0.0
        size = len(self._band) + self._lags
        left, right = np.fft.rfft(self._band.T, size)
        products = np.fft.irfft(left.conj() * right, size)
        lags = np.arange(-self._lags, self._lags + 1)
        self._correlation = _FORGETTING * self._correlation + products[lags]
        self._energy = _FORGETTING * self._energy + np.square(self._band).sum(0)

    def _is_turned_round(self, frame: DoubleArray) -> bool:
        """Whether the phase between the channels is no longer what is remembered of it."""
        product, energy = frame.prod(1).sum(), np.square(frame).sum(0).prod()
        alike = product * product > _PLAIN**2 * energy
        opposed = alike and product * self._correlation[self._lags] < 0.0
        self._opposed = self._opposed + 1 if opposed else 0
        return self._opposed >= _TURNED

    def _measured(self) -> _Measured:
        return _Measured(np.stack(self._power), self._correlation, self._energy)


def _only(channel: int, signs: DoubleArray) -> DoubleArray:
    gains = np.zeros(2)
    gains[channel] = signs[channel]
    return gains
