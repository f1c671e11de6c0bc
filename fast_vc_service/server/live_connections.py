"""The connections that hold a slot, and what all of them are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from loguru import logger

from fast_vc_service.server.retry_after import SessionEnds
from fast_vc_service.server.standstill import is_done_within
from fast_vc_service.sessions.errors import SessionError


class LiveConnection(Protocol):
    """What the service needs of a connection that holds a slot."""

    def go_away(self, in_s: float) -> None:
        """Tell the client that the service will stop in ``in_s`` seconds."""
        ...

    def finish(self) -> None:
        """End the session as if ``end`` had come, then say GOING_AWAY."""
        ...

    def fail(self, error: SessionError) -> None:
        """End the session with ``error``, after what is converted already."""
        ...

    def stood_still(self, seconds: float) -> None:
        """Count ``seconds`` for nothing: the process did not run."""
        ...

    def check(self, now: float) -> None:
        """Enforce the time limits; called twice a second."""
        ...


class LiveConnections:
    """All of them; belongs to the event loop.

    Attributes:
        ends: When the latest sessions ended.
    """

    def __init__(self) -> None:
        self.ends = SessionEnds()
        self._connections: set[LiveConnection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._connections)

    def joined(self, connection: LiveConnection) -> None:
        """Count a connection that took a slot."""
        self._connections.add(connection)
        self._empty.clear()

    def left(self, connection: LiveConnection) -> None:
        """Forget a connection that gave its slot back."""
        self.ends.ended(time.monotonic())
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def tell_each(self, tell: Callable[[LiveConnection], None]) -> None:
        """Call ``tell`` for every connection; what one fails with costs the others nothing."""
        for connection in list(self._connections):
            try:
                tell(connection)
            except Exception:
                logger.exception("fault in a connection")

    async def wait_until_empty(self, seconds: float) -> None:
        """Wait until none is left, at most ``seconds`` in which the process ran."""
        empty = asyncio.ensure_future(self._empty.wait())
        try:
            await is_done_within(empty, seconds)
        finally:
            empty.cancel()
