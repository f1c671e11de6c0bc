"""What many clients together say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fast_vc_service.client.statistics import latency_statistics
from fast_vc_service.client.summary import describe
from fast_vc_service.loadtest.client_report import ClientReport


def pooled_statistics(reports: Sequence[ClientReport]) -> dict[str, Any]:
    """Return the figures of all clients together.

    Latency and send delay are described over the chunks of all clients pooled, never by averaging
    the clients' own percentiles. The real-time factor cannot be pooled, since servers tell theirs
    summarised: its mean is weighted by blocks, and of the 95th percentiles the worst is given.
    """
    late = describe(delay_ms for report in reports for delay_ms in report.send_delays_ms)
    return {
        **latency_statistics([chunk for report in reports for chunk in report.chunks]),
        "send_delay_stats": {f"{name}_ms": value for name, value in late.items()},
        "real_time_factor": _real_time_factor(reports),
        "silenced_ms": sum(report.server_stats.get("silenced_ms") or 0.0 for report in reports),
    }


def _real_time_factor(reports: Iterable[ClientReport]) -> dict[str, float | None]:
    told = [
        (report.server_stats["real_time_factor"], report.server_stats.get("chunks_processed", 0))
        for report in reports
        if (report.server_stats.get("real_time_factor") or {}).get("mean") is not None
    ]
    if not told:
        return dict.fromkeys(("mean", "min", "max", "worst_p95"))
    blocks = sum(count for _, count in told)
    return {
        "mean": sum(factor["mean"] * count for factor, count in told) / blocks if blocks else None,
        "min": min(factor["min"] for factor, _ in told),
        "max": max(factor["max"] for factor, _ in told),
        "worst_p95": max(factor["p95"] for factor, _ in told),
    }
