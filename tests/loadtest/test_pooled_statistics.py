"""Figures of many clients, known by arithmetic."""

from __future__ import annotations

import pytest

from fast_vc_service.client.statistics import ChunkLatency
from fast_vc_service.loadtest.client_report import ClientReport
from fast_vc_service.loadtest.statistics import pooled_statistics


def client(number: int, latencies_ms: list[float], **server_stats: object) -> ClientReport:
    chunks = [ChunkLatency(0.0, latency_ms, latency_ms + 20) for latency_ms in latencies_ms]
    return ClientReport(
        number, chunks=chunks, send_delays_ms=latencies_ms, server_stats=dict(server_stats)
    )


def factor(mean: float, p95: float) -> dict[str, float]:
    return {"mean": mean, "min": mean / 2, "max": 2 * mean, "p95": p95}


def test_percentiles_are_those_of_all_chunks_never_averaged() -> None:
    figures = pooled_statistics([client(1, [10.0] * 99), client(2, [1000.0])])
    latency = figures["chunk_latency_stats"]
    assert latency["median_ms"] == latency["p95_ms"] == 10
    assert latency["mean_ms"] == pytest.approx(19.9)
    assert latency["max_ms"] == 1000
    assert figures["mouth_to_ear_stats"]["median_ms"] == 30
    assert figures["send_delay_stats"]["max_ms"] == 1000


def test_real_time_factor_is_weighted_by_blocks_and_its_worst_is_told() -> None:
    figures = pooled_statistics(
        [
            client(1, [], real_time_factor=factor(0.2, 0.3), chunks_processed=300),
            client(2, [], real_time_factor=factor(0.6, 0.9), chunks_processed=100, silenced_ms=40),
            client(3, []),
        ]
    )
    assert figures["real_time_factor"] == pytest.approx(
        {"mean": 0.3, "min": 0.1, "max": 1.2, "worst_p95": 0.9}
    )
    assert figures["silenced_ms"] == 40


def test_without_a_clock_or_a_server_everything_is_unknown() -> None:
    figures = pooled_statistics([client(1, [])])
    assert figures["chunk_latency_stats"]["median_ms"] is None
    assert figures["real_time_factor"]["mean"] is None
