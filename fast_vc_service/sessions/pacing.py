"""When a session may read more, and when a block is late: its clock runs from its first audio.

Late policy (design): input that is further ahead of the stream clock than ``max_buffered_ms`` is
not read (paced). A block of a real-time session that has waited ``late_ms`` beyond both its receipt
and its place on the stream clock is silenced. Of a backlog, which a client sends at once after it
has stalled, each block is expected :data:`CATCH_UP` of a block after the one before it, so that
what the service can convert in its spare time is not silenced for coming all at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import NamedTuple

from fast_vc_service.contract import SAMPLE_RATE_IN
from fast_vc_service.engine.stream import Stream
from fast_vc_service.sessions.outbox import Outbox

CATCH_UP = 0.9
"""Blocks: the time that each block of a backlog may need. Below 1, so that the allowance ends."""


class When(NamedTuple):
    """The times of a block, in monotonic seconds; None for a client that sends as it likes.

    Attributes:
        deadline: When its output is wanted.
        late_at: When it is silenced instead of converted.
        behind: Whether it is part of a backlog: then its lateness is the client's.
    """

    deadline: float | None
    late_at: float | None
    behind: bool


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What a session may take.

    Attributes:
        max_buffered_ms: Audio read but not yet converted, and audio ahead of the stream clock.
        late_ms: Waiting time after which a block is silenced; None means two blocks.
    """

    max_buffered_ms: float = 2000.0
    late_ms: float | None = None


class Pacing:
    """The clock of one session.

    Args:
        stream: Counts what was received.
        limits: Buffer sizes and the late policy.
        realtime: Whether the client sends by the clock.
        converting: The blocks that are being converted.
        outbox: Knows how much waits to be sent.
        clock: Monotonic seconds.

    Attributes:
        block_s: Seconds of audio a block.
        realtime: As given.
    """

    def __init__(
        self,
        stream: Stream,
        limits: SessionLimits,
        *,
        realtime: bool,
        converting: Sized,
        outbox: Outbox,
        clock: Callable[[], float],
    ) -> None:
        self.block_s = stream.block / SAMPLE_RATE_IN
        self._stream = stream
        self.realtime = realtime
        self._converting = converting
        self._outbox = outbox
        self._clock = clock
        self._max_buffered_s = limits.max_buffered_ms / 1e3
        self._late_s = 2 * self.block_s if limits.late_ms is None else limits.late_ms / 1e3
        self._started_at: float | None = None
        self._expected_at = 0.0
        self._room = asyncio.Event()
        self._room.set()

    @property
    def holding(self) -> bool:
        """Whether the reader is held up."""
        return not self._room.is_set()

    def begin(self, now: float) -> None:
        """Start the clock, unless it runs."""
        if self._started_at is None:
            self._started_at = now

    def when(self, index: int, taken_at: float) -> When:
        """Return the times of block ``index``.

        Args:
            index: Of the block, the next one after that of the last call.
            taken_at: When it was whole: received, and let in.
        """
        if not self.realtime:
            return When(None, None, False)
        started_at = taken_at if self._started_at is None else self._started_at
        due_at = started_at + (index + 1) * self.block_s
        due_at = max(due_at, taken_at)
        allowed_at = due_at
        if self._expected_at > due_at:
            allowed_at = min(self._expected_at, due_at + self._max_buffered_s)
        self._expected_at = allowed_at + CATCH_UP * self.block_s
        return When(allowed_at + self.block_s, allowed_at + self._late_s, allowed_at > due_at)

    def answered(self, now: float) -> None:
        """Take note that a block has been answered: the next ones are expected sooner for it."""
        expected_at = now + CATCH_UP * self.block_s * len(self._converting)
        self._expected_at = min(self._expected_at, expected_at)

    def room_in_s(self, now: float) -> float:
        """Seconds until more input may be read; infinite: when some has been converted or sent."""
        most_s = self._max_buffered_s
        if len(self._converting) * self.block_s >= most_s or self._outbox.queued_s >= most_s:
            return math.inf
        if not self.realtime or self._started_at is None:
            return 0.0
        stream = self._stream
        elapsed_s = now - self._started_at
        return stream.received_samples / stream.rate_in - elapsed_s - self._max_buffered_s

    def look_again(self) -> None:
        """Have a reader that is held up look whether there is room."""
        self._room.set()

    async def wait_for_room(self, over: Callable[[], bool]) -> None:
        """Hold up the reader while too much is buffered or the client is too far ahead.

        Args:
            over: Whether nothing is read any more, room or not.
        """
        while not over() and (wait_s := self.room_in_s(self._clock())) > 0:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), None if wait_s == math.inf else wait_s)
        self._room.set()
