"""The register of a voice: where its pitch lies, learned while it speaks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from fast_vc_service.protocol.limits import SOURCE_F0_HZ

NEUTRAL_F0_HZ = 160.0
"""Between the medians of male and female speech: assumed until a voice was heard."""

NEUTRAL_SPREAD = 0.16
"""Standard deviation of log F0 assumed until a voice was heard (2.8 semitones)."""

MIN_F0_HZ, MAX_F0_HZ = SOURCE_F0_HZ
"""Values outside are taken for unvoiced."""

KNOWN_AFTER_S = 0.5
FROZEN_AFTER_S = 10.0
"""Seconds of voiced speech after which the register can be told, and no longer learns."""

FREE_UNTIL_S, FAST_UNTIL_S = 0.1, 1.0
"""Seconds of voiced speech in which the register in use moves freely, and then fast."""

FAST_SEMITONES_PER_S, MAX_SEMITONES_PER_S = 12.0, 2.0
"""How fast the register in use moves towards what was learned: at first, and from then on.

The limit keeps a melody from being bent by what is still being learned; from the neutral prior,
half an octave off for most voices, the slower one would instead bend it for seconds.
"""

_NEUTRAL_S = 0.05
_TRUSTED_S, _DOUBTED_S, _TRUSTED_SEMITONES = 10.0, 0.3, 5.0
_GIVEN_UP_AFTER_S = 1.0
_SEMITONE = math.log(2.0) / 12.0
_BIN = 0.1 * _SEMITONE
_FIRST_BIN = math.log(MIN_F0_HZ)
_BINS = math.ceil((math.log(MAX_F0_HZ) - _FIRST_BIN) / _BIN)
_SPREAD_PRIOR_S = 2.0
_ROUNDING_S = 1e-9


def semitones(f0_hz: float, reference_hz: float) -> float:
    """Return how many semitones ``f0_hz`` lies above ``reference_hz``."""
    return 12.0 * math.log2(f0_hz / reference_hz)


@dataclass(frozen=True, slots=True)
class Register:
    """A running median of log F0; an immutable value, advanced by :func:`track`.

    Memory is bounded: what was heard is a histogram in tenths of a semitone.

    Attributes:
        median_log_f0: Natural log of Hz, as it is to be used now.
        voiced_s: Seconds of voiced speech learned from, up to :data:`FROZEN_AFTER_S`.
        prior_log_f0: What was known of it before; None for nothing.
    """

    median_log_f0: float = math.log(NEUTRAL_F0_HZ)
    voiced_s: float = 0.0
    prior_log_f0: float | None = None
    _counts: tuple[int, ...] = field(default=(0,) * _BINS, repr=False)

    @classmethod
    def known(cls, f0_hz: float | None) -> Register:
        """Return the register of a speaker whose median F0 (Hz) is known, or thought to be.

        It is kept while what is heard lies within five semitones of it, and given up when after a
        second of voiced speech that lies elsewhere: creaks and whispers that begin a sentence
        are no other speaker.

        Raises:
            ValueError: ``f0_hz`` is not 50 to 1100.
        """
        if f0_hz is None:
            return cls()
        if not MIN_F0_HZ <= f0_hz <= MAX_F0_HZ:
            raise ValueError(
                f"source_f0_hz: expected {MIN_F0_HZ:g} to {MAX_F0_HZ:g} Hz, got {f0_hz}"
            )
        log_f0 = math.log(f0_hz)
        return cls(median_log_f0=log_f0, prior_log_f0=log_f0)

    @property
    def learned_f0_hz(self) -> float | None:
        """Median F0 in Hz; None before half a second of voiced speech was heard.

        Where the register in use moves to, not where it is: a short session is over before it
        has arrived.
        """
        if self.voiced_s < KNOWN_AFTER_S - _ROUNDING_S:
            return None
        heard = _quantile(self._counts, 0.5)
        learned = math.exp(_believed(heard, self.voiced_s, self.prior_log_f0))
        return min(max(learned, MIN_F0_HZ), MAX_F0_HZ)

    @property
    def frozen(self) -> bool:
        """True once :data:`FROZEN_AFTER_S` of voiced speech was heard."""
        return self.voiced_s >= FROZEN_AFTER_S - _ROUNDING_S

    @property
    def spread(self) -> float:
        """Standard deviation of log F0: half the range of its middle 68 %, drawn to neutral.

        What was heard weighs as its duration, the neutral value as two seconds.
        """
        if self.voiced_s < KNOWN_AFTER_S - _ROUNDING_S:
            return NEUTRAL_SPREAD
        heard = (_quantile(self._counts, 0.84) - _quantile(self._counts, 0.16)) / 2.0
        weight = self.voiced_s / (self.voiced_s + _SPREAD_PRIOR_S)
        return NEUTRAL_SPREAD + weight * (heard - NEUTRAL_SPREAD)


def track(register: Register, f0_hz: npt.NDArray[np.floating], frame_s: float) -> Register:
    """Learn from the next frames of a voice (design: the source's register).

    The result is the same however the frames are cut into calls.

    Args:
        register: What is known so far; not changed.
        f0_hz: ``[frames]``; 0, NaN and values outside 50 to 1100 Hz are unvoiced.
        frame_s: Seconds from frame to frame.

    Returns:
        The register after these frames.
    """
    values = np.asarray(f0_hz, np.float64)
    voiced = (values >= MIN_F0_HZ) & (values < MAX_F0_HZ)
    log_f0 = np.log(np.where(voiced, values, MIN_F0_HZ))
    bins = np.minimum((log_f0 - _FIRST_BIN) / _BIN, _BINS - 1).astype(int)

    learned = _RunningMedian(register._counts)
    current, voiced_s = register.median_log_f0, register.voiced_s
    for is_voiced, place in zip(voiced.tolist(), bins.tolist(), strict=True):
        if is_voiced and voiced_s < FROZEN_AFTER_S - _ROUNDING_S:
            learned.add(place)
            voiced_s += frame_s
        if voiced_s:
            median = learned.median()
            wanted = _believed(median, voiced_s, register.prior_log_f0)
            most = _fastest(median, voiced_s, register.prior_log_f0) * _SEMITONE * frame_s
            current += min(max(wanted - current, -most), most)
    return replace(
        register, median_log_f0=current, voiced_s=voiced_s, _counts=tuple(learned.counts)
    )


def _believed(median: float, voiced_s: float, prior: float | None) -> float:
    """Log F0 between what was heard and what was known before, by what each is worth."""
    worth_s = _NEUTRAL_S
    if prior is not None:
        # The nearer they lie, the less there is to correct: trackers differ by a semitone.
        apart = max(abs(median - prior) / _SEMITONE, 1.0)
        trusted_s = _TRUSTED_S * max(_TRUSTED_SEMITONES / apart, 1.0)
        worth_s = _DOUBTED_S if _is_wrong(prior, median, voiced_s) else trusted_s
    before = math.log(NEUTRAL_F0_HZ) if prior is None else prior
    return (worth_s * before + voiced_s * median) / (worth_s + voiced_s)


def _is_wrong(prior: float, median: float, voiced_s: float) -> bool:
    """Whether what was known before is not of who is heard."""
    far = abs(median - prior) >= _TRUSTED_SEMITONES * _SEMITONE
    return far and voiced_s >= _GIVEN_UP_AFTER_S


def _fastest(median: float, voiced_s: float, prior: float | None) -> float:
    """Semitones a second by which the register in use may move."""
    if prior is None and voiced_s < FREE_UNTIL_S + _ROUNDING_S:
        return math.inf
    if prior is not None and _is_wrong(prior, median, voiced_s):
        return FAST_SEMITONES_PER_S
    return FAST_SEMITONES_PER_S if voiced_s < FAST_UNTIL_S else MAX_SEMITONES_PER_S


class _RunningMedian:
    """Median of a histogram that grows: steps from bin to bin instead of starting over."""

    def __init__(self, counts: tuple[int, ...]) -> None:
        self.counts = list(counts)
        self._half = sum(counts) / 2.0
        self._bin = 0
        self._below = 0

    def add(self, place: int) -> None:
        self.counts[place] += 1
        self._half += 0.5
        self._below += place < self._bin

    def median(self) -> float:
        # The one bin with below < half <= below + count: where the search began does not matter.
        while self._below >= self._half:
            self._bin -= 1
            self._below -= self.counts[self._bin]
        while self._below + self.counts[self._bin] < self._half:
            self._below += self.counts[self._bin]
            self._bin += 1
        return _within(self._bin, (self._half - self._below) / self.counts[self._bin])


def _quantile(counts: tuple[int, ...], share: float) -> float:
    wanted = share * sum(counts)
    below = 0
    for place, count in enumerate(counts):
        if below + count >= wanted and count:
            return _within(place, (wanted - below) / count)
        below += count
    raise ValueError("an empty histogram has no quantiles")


def _within(place: int, part: float) -> float:
    return _FIRST_BIN + (place + part) * _BIN
