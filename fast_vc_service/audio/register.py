"""The register of a voice: where its pitch lies, learned while it speaks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

NEUTRAL_F0_HZ = 160.0
"""Between the medians of male and female speech: assumed until a voice was heard."""

NEUTRAL_SPREAD = 0.16
"""Standard deviation of log F0 assumed until a voice was heard (2.8 semitones)."""

MIN_F0_HZ = 50.0
MAX_F0_HZ = 1_100.0
"""Values outside are taken for unvoiced."""

USED_AFTER_S = 0.5
FROZEN_AFTER_S = 10.0
"""Seconds of voiced speech after which the register is used, and no longer learns."""

MAX_SEMITONES_PER_S = 2.0
"""How fast the register in use moves towards what was learned, once it is learned at all.

The first estimate is taken as it is. The limit keeps a melody from being bent by what is still
being learned; from the neutral prior, half an octave off for most voices, it would instead bend it
for seconds.
"""

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
    """

    median_log_f0: float = math.log(NEUTRAL_F0_HZ)
    voiced_s: float = 0.0
    _counts: tuple[int, ...] = field(default=(0,) * _BINS, repr=False)

    @property
    def frozen(self) -> bool:
        """True once :data:`FROZEN_AFTER_S` of voiced speech was heard."""
        return self.voiced_s >= FROZEN_AFTER_S - _ROUNDING_S

    @property
    def spread(self) -> float:
        """Standard deviation of log F0: half the range of its middle 68 %, drawn to neutral.

        What was heard weighs as its duration, the neutral value as two seconds.
        """
        if self.voiced_s < USED_AFTER_S - _ROUNDING_S:
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
    most = MAX_SEMITONES_PER_S * _SEMITONE * frame_s
    current, voiced_s = register.median_log_f0, register.voiced_s
    used = voiced_s >= USED_AFTER_S - _ROUNDING_S
    for is_voiced, place in zip(voiced.tolist(), bins.tolist(), strict=True):
        if is_voiced and voiced_s < FROZEN_AFTER_S - _ROUNDING_S:
            learned.add(place)
            voiced_s += frame_s
        if used:
            current += min(max(learned.median() - current, -most), most)
        elif voiced_s >= USED_AFTER_S - _ROUNDING_S:
            current, used = learned.median(), True
    return replace(
        register, median_log_f0=current, voiced_s=voiced_s, _counts=tuple(learned.counts)
    )


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
