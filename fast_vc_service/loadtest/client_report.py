"""What became of one client of a load, as its process tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fast_vc_service.client.errors import VoiceServiceError
from fast_vc_service.client.statistics import ChunkLatency

WORKER_FAILED = "WORKER_FAILED"
"""The process a client ran in ended before the client did."""

NO_ROOM = frozenset({"BUSY", "HTTP_503"})
"""Codes of a service that has no room for another session or connection."""


@dataclass(frozen=True)
class ClientReport:
    """What became of one client, without its audio.

    Attributes:
        number: Which one, from 1.
        error: Code, message and details of why it failed; None when it did not.
        chunks: Latency of each chunk that came back; empty without a clock.
        send_delays_ms: How much later than due each chunk was sent; empty without a clock.
        server_stats: The server's own statistics.
        statistics: Of a client that sends a clip: its statistics file.
        output_at: (seconds since the epoch, seconds of audio received) of each receive.
        waited_s: How long it waited for room before its session began.
    """

    number: int
    error: dict[str, Any] | None = None
    chunks: list[ChunkLatency] = field(default_factory=list)
    send_delays_ms: list[float] = field(default_factory=list)
    server_stats: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, Any] | None = None
    output_at: list[tuple[float, float]] = field(default_factory=list)
    waited_s: float = 0.0

    @property
    def success(self) -> bool:
        """Whether the session was complete."""
        return self.error is None

    @property
    def refused(self) -> bool:
        """Whether the service had no room for it."""
        return self.error is not None and self.error["code"] in NO_ROOM

    @property
    def reason(self) -> str:
        """Why it failed, in a sentence."""
        if self.error is None:
            return ""
        error = self.error
        return str(VoiceServiceError(error["code"], error["message"], error["details"]))


def failed(number: int, code: str, message: str) -> ClientReport:
    """Return the report of a client of which nothing but its failure is known."""
    return ClientReport(number, VoiceServiceError(code, message).as_dict())
