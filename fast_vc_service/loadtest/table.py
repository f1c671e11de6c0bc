"""The table of a load at the command line: a row a client, and one for all together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from fast_vc_service.client.present import milliseconds
from fast_vc_service.loadtest.client_report import ClientReport


def table(reports: Sequence[ClientReport], summary: dict[str, Any]) -> Table:
    """Return a row a client, and one for all chunks together."""
    made = Table(title="clients", title_justify="left")
    for name in ("client", "first output", "median", "p95", "p99", "jitter", "RTF p95", "result"):
        made.add_column(name, justify="left" if name == "result" else "right")
    for report in reports:
        stats = report.statistics
        figures = ["-"] * 6 if stats is None else _figures(stats, stats["first_token_latency_ms"])
        made.add_row(str(report.number), *figures, _result(report))
    made.add_section()
    figures = _figures(summary, summary["first_token_latency_ms"]["median"])
    made.add_row("all", *figures, f"{summary['succeeded']} of {summary['num_clients']} complete")
    return made


def _figures(stats: dict[str, Any], first_ms: float | None) -> list[str]:
    latency = stats["chunk_latency_stats"]
    factor = stats["real_time_factor"].get("p95", stats["real_time_factor"].get("worst_p95"))
    return [
        milliseconds(first_ms),
        *(milliseconds(latency[f"{name}_ms"]) for name in ("median", "p95", "p99")),
        milliseconds(stats["jitter_ms"]),
        "-" if factor is None else f"{factor:.3f}",
    ]


def _result(report: ClientReport) -> str:
    if report.error is not None:
        return f"{report.error['code']}: {report.error['message']}"
    silenced_ms = report.server_stats.get("silenced_ms")
    return f"complete, {silenced_ms:.0f} ms silenced" if silenced_ms else "complete"
