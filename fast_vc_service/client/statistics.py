"""What a timeline says about latency (spec: clients, definitions of the statistics file)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fast_vc_service.client.summary import describe
from fast_vc_service.client.timeline import Timeline, TimelineEntry

SIGNIFICANT_DELAY_MS = 10.0
"""A send that is later than this is significantly late."""

STABLE_STD_MS = 5.0
"""Sending is stable when the standard deviation of its delay is below this."""

_SAME_MS = 1e-6
"""Positions closer than this are the same: one is a rounded form of the other."""


@dataclass(frozen=True, slots=True)
class ChunkLatency:
    """Latency of one receive.

    Attributes:
        received_s: When it came, in seconds since the epoch.
        latency_ms: Time since the first send whose audio reaches as far as the receive's.
        mouth_to_ear_ms: That and the length of the audio received: the age of its first sample.
    """

    received_s: float
    latency_ms: float
    mouth_to_ear_ms: float


def chunk_latencies(timeline: Timeline, delay_ms: float = 0.0) -> list[ChunkLatency]:
    """Return the latency of every receive that completes audio of the input.

    Args:
        timeline: Of a session in real time; sends carry the times they were due.
        delay_ms: Silence in front of the output: the server's delay if it was not trimmed, else 0.
            Receives of nothing but that silence have no latency.
    """
    reached_ms = [entry.cumulative_ms for entry in timeline.sends]
    latencies: list[ChunkLatency] = []
    before_ms = 0.0
    for receive in timeline.recvs:
        length_ms = receive.cumulative_ms - before_ms
        before_ms = receive.cumulative_ms
        position_ms = receive.cumulative_ms - delay_ms
        if position_ms <= 0 or not reached_ms:
            continue
        first = bisect_left(reached_ms, position_ms - _SAME_MS)
        # Rounding and the padding of Opus may end a little behind the last send.
        send = timeline.sends[min(first, len(reached_ms) - 1)]
        latency_ms = (receive.timestamp - send.timestamp) * 1e3
        latencies.append(ChunkLatency(receive.timestamp, latency_ms, latency_ms + length_ms))
    return latencies


def statistics(
    timeline: Timeline,
    *,
    chunk_ms: float,
    real_time: bool,
    delay_ms: float = 0.0,
    server_stats: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the statistics file of one session.

    Args:
        timeline: What happened when.
        chunk_ms: Audio sent at a time.
        real_time: Whether it was sent by the clock. If not, latency of chunks, jitter,
            ``is_real_time`` and everything about punctuality are null.
        delay_ms: As in :func:`chunk_latencies`.
        server_stats: ``stats`` of the server's last message; the real-time factor is from there.
    """
    sends, recvs = timeline.sends, timeline.recvs
    chunks = chunk_latencies(timeline, delay_ms) if real_time else []
    server = server_stats or {}
    return {
        "first_token_latency_ms": _between_ms(sends[:1], recvs[:1]),
        "end_to_end_latency_ms": _between_ms(sends[-1:], recvs[-1:]),
        **latency_statistics(chunks),
        "real_time_factor": describe([]) | dict(server.get("real_time_factor") or {}),
        "is_real_time": server.get("is_real_time") if real_time else None,
        "send_timing_analysis": _send_timing(sends, chunk_ms, real_time),
        "timeline_summary": {
            "total_send_events": len(sends),
            "total_recv_events": len(recvs),
            "send_duration_ms": _between_ms(sends[:1], sends[-1:]),
            "recv_duration_ms": _between_ms(recvs[:1], recvs[-1:]),
            "processing_start_to_end_ms": _between_ms(sends[:1], recvs[-1:]),
        },
    }


def latency_statistics(chunks: Sequence[ChunkLatency]) -> dict[str, Any]:
    """Return ``chunk_latency_stats``, ``mouth_to_ear_stats`` and ``jitter_ms`` of ``chunks``.

    Without chunks every figure is None.
    """
    latency = _in_ms(chunk.latency_ms for chunk in chunks)
    return {
        "chunk_latency_stats": latency,
        "mouth_to_ear_stats": _in_ms(chunk.mouth_to_ear_ms for chunk in chunks),
        "jitter_ms": latency["std_ms"],
    }


def send_delays_ms(sends: Iterable[TimelineEntry]) -> list[float]:
    """Return how much later than due each send went out; meaningless without a clock."""
    return [
        (entry.actual_timestamp - entry.timestamp) * 1e3
        for entry in sends
        if entry.actual_timestamp is not None
    ]


def _send_timing(
    sends: Sequence[TimelineEntry], chunk_ms: float, real_time: bool
) -> dict[str, Any]:
    delays_ms = send_delays_ms(sends) if real_time else []
    late = [delay_ms > SIGNIFICANT_DELAY_MS for delay_ms in delays_ms]
    stats = _in_ms(delays_ms)
    std_ms = stats["std_ms"]
    return {
        "total_chunks": len(sends),
        "send_delay_stats": stats,
        "delay_ratio_stats": describe(delay_ms / chunk_ms for delay_ms in delays_ms),
        "timing_quality": {
            "chunks_with_positive_delay": sum(delay_ms > 0 for delay_ms in delays_ms),
            "chunks_with_significant_delay": sum(late),
            # In a row and significant: by microseconds every send is late.
            "max_consecutive_delays": max(
                (sum(run) for is_late, run in groupby(late) if is_late), default=0
            ),
            "is_sending_stable": None if std_ms is None else std_ms < STABLE_STD_MS,
        },
    }


def _between_ms(start: Sequence[TimelineEntry], end: Sequence[TimelineEntry]) -> float | None:
    return (end[0].timestamp - start[0].timestamp) * 1e3 if start and end else None


def _in_ms(values: Iterable[float]) -> dict[str, float | None]:
    return {f"{name}_ms": value for name, value in describe(values).items()}
