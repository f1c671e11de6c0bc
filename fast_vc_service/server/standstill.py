"""Time in which the process stood still: stopped by SIGSTOP, starved, or asleep with the machine.

No client is to blame for it, so no time limit of a client counts it. While the machine sleeps the
monotonic clock stands still as well (Linux); a stopped process finds that it has gone on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

TOLERANCE_S = 1.0
"""How late what comes regularly may come on a busy machine."""

SLICE_S = 0.5


class Standstill:
    """Notices from calls that should come regularly when they did not.

    Args:
        every_s: How often :meth:`passed_s` is called.
        clock: Monotonic seconds.
    """

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._before = clock()

    def passed_s(self) -> float:
        """Return for how many seconds the process stood still since the last call; mostly 0."""
        now = self._clock()
        gap_s, self._before = now - self._before - self._every_s, now
        return gap_s if gap_s > TOLERANCE_S else 0.0


def _asleep_s() -> float:
    """Seconds that the machine has slept since it was started; 0 where that is not told."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if clock is None else time.clock_gettime(clock) - time.monotonic()


class MachineSleep:
    """Notices that the machine has slept.

    Args:
        asleep_s: Seconds that it has slept since some moment.
    """

    def __init__(self, asleep_s: Callable[[], float] = _asleep_s) -> None:
        self._asleep_s = asleep_s
        self._before = asleep_s()

    def passed_s(self) -> float:
        """Return for how many seconds the machine has slept since the last call; mostly 0."""
        now = self._asleep_s()
        slept_s, self._before = now - self._before, now
        return slept_s if slept_s > TOLERANCE_S else 0.0


async def is_done_within(future: asyncio.Future[Any], seconds: float) -> bool:
    """Wait for ``future`` for ``seconds``, not counting those in which the process stood still."""
    while not future.done() and seconds > 0:
        before = time.monotonic()
        await asyncio.wait({future}, timeout=min(seconds, SLICE_S))
        seconds -= min(time.monotonic() - before, SLICE_S + TOLERANCE_S)
    return future.done()
