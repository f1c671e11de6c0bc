"""What one turn of the event loop may spend on what clients send, and who is next.

A turn is what the loop does between two looks at its sockets. All parsing and all that happens
while parsing is counted; when the time of a turn is spent, whoever has more to be read waits for
the next, those first who have cost least lately.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import Protocol

from fast_vc_service.server.sockets.answers import ANSWERED_AT_A_TIME

TURN_S = 0.002
"""Seconds a turn may spend, and no more than one slice beyond."""

STARTS_A_TURN = 2
"""HTTP requests that begin to be answered in a turn; the health routes do not wait."""

STALL_S = 0.05
"""How late the loop may be before it counts as a stall of ours."""

_HEARTBEAT_S = 0.1


class Waiting(Protocol):
    """Has something that waits to be parsed."""

    def go_on(self) -> None:
        """Parse it."""
        ...


class Turns:
    """The turns of one event loop.

    Args:
        on_stall: Told the seconds of every stall of the loop.

    Attributes:
        spent_s: Seconds spent in this turn.
        answers: Places of requests that are being answered.
    """

    def __init__(self, on_stall: Callable[[float], None] = lambda _seconds: None) -> None:
        self._on_stall = on_stall
        self._loop = asyncio.get_running_loop()
        self._queue: list[tuple[float, int, Waiting]] = []
        self._starts: deque[Callable[[], object]] = deque()
        self._order = itertools.count()
        self._is_open = False
        self._beat: asyncio.TimerHandle | None = None
        self._beat_at = 0.0
        self.spent_s = 0.0
        self.answers = asyncio.Semaphore(ANSWERED_AT_A_TIME)

    def has_time(self) -> bool:
        """Tell whether something may be parsed at once."""
        self._open()
        return not self._queue and self.spent_s < TURN_S

    def wait(self, waiting: Waiting, cost: float) -> None:
        """Have ``waiting`` go on when it is its turn: the lower its ``cost``, the sooner."""
        heapq.heappush(self._queue, (cost, next(self._order), waiting))
        self._open()

    def start(self, start: Callable[[], object]) -> None:
        """Have ``start`` called when it is its turn."""
        self._starts.append(start)
        self._open()

    def watch(self) -> None:
        """Begin to watch for stalls, until :meth:`close`."""
        now = self._loop.time()
        if self._beat is not None and now - self._beat_at > STALL_S:
            self._on_stall(now - self._beat_at)
        self._beat_at = now + _HEARTBEAT_S
        self._beat = self._loop.call_at(self._beat_at, self.watch)

    def close(self) -> None:
        """Watch no more."""
        if self._beat is not None:
            self._beat.cancel()

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._is_open = False
        self.spent_s = 0.0
        while self._queue and self.spent_s < TURN_S:
            heapq.heappop(self._queue)[2].go_on()
        for _ in range(min(STARTS_A_TURN, len(self._starts))):
            self._starts.popleft()()
        if self._queue or self._starts:
            self._open()
