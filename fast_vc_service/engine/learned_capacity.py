"""How many live sessions fit, learned from how long their blocks take to be answered.

What was measured before anybody spoke is a guess: the machine may have been busy then, or may be
now. Blocks that are answered quickly while nearly all places are taken raise the limit by one
every :data:`RAISE_S`. Blocks that take too long lower it by a fifth every :data:`LOWER_S`, and
nobody is admitted as long as that goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from fast_vc_service.engine.capacity import MODEL_SHARE, Capacity

RAISE_S = 10.0
"""Seconds over which answers are judged before the limit is raised."""

RAISE_BELOW = 0.6
"""Blocks: the limit is raised while 95 % of the answers take less."""

FULL_SHARE = 0.8
"""Part of the limit that must be taken: fewer sessions say nothing of how many would fit."""

LOWER_S = 2.0
"""Seconds over which answers are judged before the limit is lowered."""

FEWEST_ANSWERS = 10
"""Answers below which nothing is judged."""

LOWER_ABOVE = 2 * MODEL_SHARE
"""Blocks: a block waits for the step that runs, then for its own. The limit is lowered when more
than 5 % of the answers take longer."""

MOST_WORK = 0.85
"""Part of the model threads' time that the sessions may need. Beyond 1 their queues grow without
end, and shortly before that answers are as quick as ever."""

LOWERED_TO = 0.8
SLOW_PART = 0.05
LATE_PART = 0.005


class Answer(NamedTuple):
    """How one live block was answered.

    Attributes:
        turnaround_s: Seconds since it was its turn in its session: since its receipt or the answer
            before it, whichever came later. So a backlog of a client counts as nothing but work.
        step_s: Wall seconds of its step.
        stepped: Sessions in that step; 0 when the block was silenced.
        late: Whether it was silenced because the service was slow.
    """

    turnaround_s: float
    step_s: float
    stepped: int
    late: bool


@dataclass(slots=True)
class _Window:
    """Answers since a moment, counted."""

    since: float
    answers: int = 0
    late: int = 0
    above_raise: int = 0
    above_lower: int = 0
    stepped_s: float = 0.0
    expected_s: float = 0.0

    def add(self, answer: Answer, measured: Capacity) -> None:
        """Count an answer."""
        blocks = answer.turnaround_s / measured.block_s
        self.answers += 1
        self.late += answer.late
        self.above_raise += blocks > RAISE_BELOW
        self.above_lower += blocks > LOWER_ABOVE
        if answer.stepped:
            # Its share of the step, so that every step counts once.
            self.stepped_s += answer.step_s / answer.stepped
            self.expected_s += measured.expected_step_s(answer.stepped) / answer.stepped

    @property
    def slowdown(self) -> float:
        """How much longer steps took than when they were measured; 0 before any."""
        return self.stepped_s / self.expected_s if self.expected_s else 0.0


class LearnedCapacity:
    """A measured capacity, corrected by what live sessions meet.

    Belongs to the thread that owns the sessions.

    Args:
        measured: What to begin with.
        threads: Model threads.
        max_batch: Most sessions a step.
        clock: Monotonic seconds.

    Attributes:
        measured: What it began with.
        carries_one: Whether one session alone is answered in time, as far as is known.
    """

    def __init__(
        self,
        measured: Capacity,
        *,
        threads: int,
        max_batch: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.measured = measured
        self.carries_one = measured.carries_one
        self._limit = measured.sessions
        self._threads = threads
        self._max_batch = max_batch
        self._clock = clock
        self._short = _Window(clock())
        self._long = _Window(clock())
        self._crowded_until = -1.0
        self._live = 0

    @property
    def limit(self) -> int:
        """Live sessions that fit, at least 1."""
        return self._limit

    @property
    def crowded(self) -> bool:
        """Whether one more than those that are live would not be answered in time just now."""
        return self._clock() < self._crowded_until

    @property
    def sessions(self) -> int:
        """Live sessions that may be there at present: nobody new while it is crowded."""
        return max(1, min(self._limit, self._live)) if self.crowded else self._limit

    def observe(self, answer: Answer, live: int) -> None:
        """Count how a block was answered while ``live`` sessions were there."""
        self._live = live
        now = self._clock()
        for window in (self._short, self._long):
            window.add(answer, self.measured)
        if now - self._short.since >= LOWER_S and self._short.answers >= FEWEST_ANSWERS:
            self._judge_short(now)
        if now - self._long.since >= RAISE_S and self._long.answers >= FEWEST_ANSWERS:
            self._judge_long(now)

    def _judge_short(self, now: float) -> None:
        window, self._short = self._short, _Window(now)
        overloaded = (
            window.above_lower > SLOW_PART * window.answers
            or window.late > LATE_PART * window.answers
            or self._work(window, self._live) > MOST_WORK
        )
        if overloaded:
            # Those who are there stay: that fewer than most of them fit is not known yet.
            lowered = max(int(LOWERED_TO * self._limit), int(LOWERED_TO * self._live), 1)
            self._limit = min(self._limit, lowered)
            self._long = _Window(now)
            if self._live <= 1:
                self.carries_one = False
        if overloaded or self._work(window, self._live + 1) > MOST_WORK:
            self._crowded_until = now + 2 * LOWER_S

    def _judge_long(self, now: float) -> None:
        window, self._long = self._long, _Window(now)
        if window.above_raise <= SLOW_PART * window.answers and not window.late:
            self.carries_one = True
            more = self._live >= FULL_SHARE * self._limit
            if more and self._work(window, self._limit + 1) <= MOST_WORK:
                self._limit += 1

    def _work(self, window: _Window, sessions: int) -> float:
        """Part of the model threads' time that ``sessions`` would need, by the steps seen."""
        a_thread = math.ceil(sessions / self._threads)
        steps = math.ceil(a_thread / self._max_batch)
        needed_s = steps * self.measured.expected_step_s(a_thread / steps)
        return window.slowdown * needed_s / self.measured.block_s
