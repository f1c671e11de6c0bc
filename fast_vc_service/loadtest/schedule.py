"""When the clients of a load begin; when each of their chunks is due says the client's Pacer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The beginnings of all clients, on a clock that the processes of a machine share.

    Attributes:
        start_s: When client 1 begins, in seconds of ``time.monotonic``.
        stagger_s: Seconds between the beginnings of two clients.
    """

    start_s: float
    stagger_s: float = 0.0

    def begin_s(self, number: int) -> float:
        """Return when client ``number`` (from 1) begins, in seconds of ``time.monotonic``."""
        return self.start_s + (number - 1) * self.stagger_s
