"""Sending on time: every moment is computed from the start, so that nothing adds up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fast_vc_service.client.timeline import now


class Pacer:
    """Moments of a clock that starts with the first wait, unless told when.

    A late caller is not delayed further and catches up: the moments do not move.

    Args:
        clock: Seconds; must not run backwards.
        sleep: Waits a number of seconds.
        started_s: When the moments count from, by ``clock``; None: from the first wait.
    """

    def __init__(
        self,
        clock: Callable[[], float] = now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        started_s: float | None = None,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._started_s = started_s

    def due_s(self, offset_s: float) -> float:
        """Return when ``offset_s`` seconds after the start is, by the clock."""
        if self._started_s is None:
            self._started_s = self._clock()
        return self._started_s + offset_s

    async def wait_until(self, offset_s: float) -> float:
        """Wait until ``offset_s`` seconds after the start.

        Returns:
            When that was due, by the clock.
        """
        due_s = self.due_s(offset_s)
        while (left_s := due_s - self._clock()) > 0:
            await self._sleep(left_s)
        return due_s
