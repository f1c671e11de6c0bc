"""The summary file of clients that send a clip (spec: clients, concurrent_ws_client.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fast_vc_service.client.summary import describe
from fast_vc_service.loadtest.client_report import ClientReport
from fast_vc_service.loadtest.clip_clients import ClipClients
from fast_vc_service.loadtest.statistics import pooled_statistics


def summarise(clients: ClipClients, reports: Sequence[ClientReport]) -> dict[str, Any]:
    """Return the summary file of a run; figures as :func:`pooled_statistics` says."""
    plan = clients.plan
    complete = [report for report in reports if report.success]
    known = [report.statistics for report in reports if report.statistics is not None]
    verdicts = [stats["is_real_time"] for stats in known]
    judged = len(complete) == len(reports) and None not in verdicts
    return {
        "run": clients.folder.name,
        "url": plan.url,
        "source": str(clients.source),
        "encoding": plan.options.get("encoding", "PCM"),
        "encoding_out": plan.options.get("encoding_out", "PCM"),
        "real_time": plan.real_time,
        "chunk_ms": plan.chunk_ms,
        "num_clients": len(reports),
        "succeeded": len(complete),
        "failed": len(reports) - len(complete),
        "refused": sum(report.refused for report in reports),
        "waited_s": describe(report.waited_s for report in reports),
        "first_token_latency_ms": describe(_values(known, "first_token_latency_ms")),
        "end_to_end_latency_ms": describe(_values(known, "end_to_end_latency_ms")),
        **pooled_statistics(reports),
        "is_real_time": all(verdicts) if judged else None,
        "clients": [_line(report) for report in reports],
    }


def _line(report: ClientReport) -> dict[str, Any]:
    stats = report.statistics or {}
    latency = stats.get("chunk_latency_stats") or {}
    return {
        "client": report.number,
        "success": report.success,
        "error": report.error,
        "first_token_latency_ms": stats.get("first_token_latency_ms"),
        "median_ms": latency.get("median_ms"),
        "p95_ms": latency.get("p95_ms"),
        "p99_ms": latency.get("p99_ms"),
        "is_real_time": stats.get("is_real_time"),
        "silenced_ms": report.server_stats.get("silenced_ms"),
        "waited_s": report.waited_s,
    }


def _values(stats: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [item[name] for item in stats if item[name] is not None]
