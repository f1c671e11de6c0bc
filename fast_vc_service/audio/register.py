"""The register of a voice: where its pitch lies, learned while it speaks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from fast_vc_service.audio import register_belief
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

FAST_UNTIL_S = 2.0
"""Seconds of voiced speech in which the register in use moves fast."""

FAST_SEMITONES_PER_S, MAX_SEMITONES_PER_S = 12.0, 2.0
"""How fast the register in use moves towards what was learned: at first, and from then on.

The limit keeps a melody from being bent by what is still being learned. Openings may be half an
octave off; the slower one would bend what follows them for seconds.
"""

_OPENING_S, _SETTLED_S = 1.0, 3.0
"""Seconds of voiced speech up to which :mod:`register_belief` is asked, and from when on the median
of what was heard."""

_UNKNOWN_CERTAINTY = 0.3
"""Of trackers that do not say how sure they are: what those that do say on average."""

_COUNTS = 20
"""Of a frame that is certain; whole numbers, so that sums do not depend on their order."""

_TRUSTED_S, _DOUBTED_S, _TRUSTED_SEMITONES = 10.0, 0.3, 5.0
_GIVEN_UP_AFTER_S = 1.75
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

    Memory is bounded: what was heard is a histogram in tenths of a semitone. What a median of the
    first words is worth of somebody unknown, :mod:`register_belief` knows better.

    Attributes:
        median_log_f0: Natural log of Hz, as it is to be used now.
        voiced_s: Seconds of voiced speech learned from, up to :data:`FROZEN_AFTER_S`.
        prior_log_f0: What was known of it before; None for nothing.
    """

    median_log_f0: float = math.log(NEUTRAL_F0_HZ)
    voiced_s: float = 0.0
    prior_log_f0: float | None = None
    _counts: tuple[int, ...] = field(default=(0,) * _BINS, repr=False)
    _belief: npt.NDArray[np.float64] = field(
        default_factory=register_belief.before_the_first_word, repr=False, compare=False
    )

    @classmethod
    def known(cls, f0_hz: float | None) -> Register:
        """Return the register of a speaker whose median F0 (Hz) is known, or thought to be.

        It is kept while what is heard lies within five semitones of it, and given up when after
        two seconds of voiced speech that lies elsewhere: creaks and whispers that begin a sentence
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
        learned = math.exp(_Learning(self).wanted())
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


def track(
    register: Register,
    f0_hz: npt.NDArray[np.floating],
    frame_s: float,
    certainty: npt.NDArray[np.floating] | None = None,
) -> Register:
    """Learn from the next frames of a voice (design: the source's register).

    The frames are spoken with the register that is returned. Of somebody unknown, those with the
    first voiced one are the only ones that move it freely; from then on it has a greatest speed,
    and the result is the same however the frames are cut into calls.

    Args:
        register: What is known so far; not changed.
        f0_hz: ``[frames]``; 0, NaN and values outside 50 to 1100 Hz are unvoiced.
        frame_s: Seconds from frame to frame.
        certainty: ``[frames]`` from 0 to 1, how sure the tracker is; None where it does not say.

    Returns:
        The register after these frames.
    """
    values = np.asarray(f0_hz, np.float64)
    voiced = (values >= MIN_F0_HZ) & (values < MAX_F0_HZ)
    log_f0 = np.log(np.where(voiced, values, MIN_F0_HZ))
    sure = np.full(len(values), _UNKNOWN_CERTAINTY) if certainty is None else certainty

    learning = _Learning(register)
    current = register.median_log_f0
    for is_voiced, place, weight in zip(
        voiced.tolist(), log_f0.tolist(), sure.tolist(), strict=True
    ):
        if is_voiced and learning.voiced_s < FROZEN_AFTER_S - _ROUNDING_S:
            learning.hear(place, weight, frame_s)
        if learning.voiced_s:
            most = learning.semitones_per_s() * _SEMITONE * frame_s
            current += min(max(learning.wanted() - current, -most), most)
    if not register.voiced_s and learning.voiced_s and register.prior_log_f0 is None:
        current = learning.wanted()
    return replace(
        register,
        median_log_f0=current,
        voiced_s=learning.voiced_s,
        _counts=tuple(learning.counts),
        _belief=learning.belief,
    )


class _Learning:
    """What a register becomes while frames are heard."""

    def __init__(self, register: Register) -> None:
        self.voiced_s = register.voiced_s
        self.belief = register._belief
        self._prior = register.prior_log_f0
        self._heard = _RunningMedian(register._counts)
        self._wanted: float | None = None

    @property
    def counts(self) -> list[int]:
        """The histogram."""
        return self._heard.counts

    def hear(self, log_f0: float, certainty: float, frame_s: float) -> None:
        """Take a voiced frame."""
        place = min(int((log_f0 - _FIRST_BIN) / _BIN), _BINS - 1)
        self._heard.add(place, max(1, round(certainty * _COUNTS)))
        if self._prior is None and self.voiced_s < _SETTLED_S:
            self.belief = register_belief.after(self.belief, log_f0, certainty, frame_s)
        self.voiced_s += frame_s
        self._wanted = None

    def wanted(self) -> float:
        """Log F0 to which the register in use is to move; something voiced was heard."""
        if self._wanted is None:
            self._wanted = self._sought()
        return self._wanted

    def semitones_per_s(self) -> float:
        """How fast."""
        wrong = self._prior is not None and _is_wrong(
            self._prior, self._heard.median(), self.voiced_s
        )
        fast = wrong or self.voiced_s < FAST_UNTIL_S
        return FAST_SEMITONES_PER_S if fast else MAX_SEMITONES_PER_S

    def _sought(self) -> float:
        if self._prior is not None:
            return _between(self._heard.median(), self.voiced_s, self._prior)
        settled = (self.voiced_s - _OPENING_S) / (_SETTLED_S - _OPENING_S)
        if settled >= 1.0:
            return self._heard.median()
        opening = register_belief.median(self.belief)
        if settled <= 0.0:
            return opening
        return opening + settled * (self._heard.median() - opening)


def _between(median: float, voiced_s: float, prior: float) -> float:
    """Log F0 between what was heard and what was known before, by what each is worth."""
    if _is_wrong(prior, median, voiced_s):
        return (_DOUBTED_S * prior + voiced_s * median) / (_DOUBTED_S + voiced_s)
    # The nearer they lie, the less there is to correct: trackers differ by a semitone.
    apart = max(abs(median - prior) / _SEMITONE, 1.0)
    worth_s = _TRUSTED_S * max(_TRUSTED_SEMITONES / apart, 1.0)
    # Openings lie high: what they say counts from when on there was more.
    heard_s = max(voiced_s - _OPENING_S, 0.0)
    return (worth_s * prior + heard_s * median) / (worth_s + heard_s)


def _is_wrong(prior: float, median: float, voiced_s: float) -> bool:
    """Whether what was known before is not of who is heard."""
    far = abs(median - prior) >= _TRUSTED_SEMITONES * _SEMITONE
    return far and voiced_s >= _GIVEN_UP_AFTER_S


class _RunningMedian:
    """Median of a histogram that grows: steps from bin to bin instead of starting over."""

    def __init__(self, counts: tuple[int, ...]) -> None:
        self.counts = list(counts)
        self._half = sum(counts) / 2.0
        self._bin = 0
        self._below = 0

    def add(self, place: int, count: int) -> None:
        self.counts[place] += count
        self._half += count / 2.0
        if place < self._bin:
            self._below += count

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
