"""What many clients together say: a summary, a plot, a table, and links to the latest run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from fast_vc_service.client.load import Load, Report
from fast_vc_service.client.present import milliseconds
from fast_vc_service.client.statistics import latency_statistics
from fast_vc_service.summary import describe

SUMMARY_NAME = "summary.json"
PLOT_NAME = "latency.png"

_LEGEND_CLIENTS = 12


def summarise(load: Load, reports: Sequence[Report]) -> dict[str, Any]:
    """Return the summary file of a run.

    Latency of chunks is described over the chunks of all clients pooled, never by averaging the
    clients' own percentiles. The real-time factor cannot be pooled, since servers tell theirs
    summarised: its mean is weighted by blocks, and of the 95th percentiles the worst is given.
    """
    plan = load.plan
    complete = [report for report in reports if report.success]
    known = [report.statistics for report in reports if report.statistics is not None]
    verdicts = [stats["is_real_time"] for stats in known]
    judged = len(complete) == len(reports) and None not in verdicts
    return {
        "run": load.folder.name,
        "url": plan.url,
        "source": str(load.source),
        "encoding": plan.options.get("encoding", "PCM"),
        "encoding_out": plan.options.get("encoding_out", "PCM"),
        "real_time": plan.real_time,
        "chunk_ms": plan.chunk_ms,
        "num_clients": len(reports),
        "succeeded": len(complete),
        "failed": len(reports) - len(complete),
        "first_token_latency_ms": describe(_values(known, "first_token_latency_ms")),
        "end_to_end_latency_ms": describe(_values(known, "end_to_end_latency_ms")),
        **latency_statistics([chunk for report in reports for chunk in report.chunks]),
        "real_time_factor": _real_time_factor(reports),
        "is_real_time": all(verdicts) if judged else None,
        "silenced_ms": sum(report.server_stats.get("silenced_ms") or 0.0 for report in reports),
        "clients": [_line(report) for report in reports],
    }


def plot(load: Load, reports: Sequence[Report], path: Path) -> None:
    """Draw latency over time as PNG, a line a client; without a clock, output over time.

    Raises:
        OSError: The file cannot be written.
    """
    real_time = load.plan.real_time
    lines = {
        report.number: [(chunk.received_s, chunk.latency_ms) for chunk in report.chunks]
        if real_time
        else report.output_at
        for report in reports
    }
    start_s = min((points[0][0] for points in lines.values() if points), default=0.0)
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.add_subplot()
    for number, points in lines.items():
        times = [time_s - start_s for time_s, _ in points]
        axes.plot(times, [value for _, value in points], linewidth=0.8, label=f"client {number}")
    axes.set_xlabel("seconds since the first output")
    axes.set_ylabel("latency of a chunk (ms)" if real_time else "seconds of output")
    axes.set_title(f"{len(reports)} clients, {load.plan.url}")
    axes.grid(visible=True, alpha=0.3)
    if real_time:
        axes.set_ylim(bottom=0)
    if len(reports) <= _LEGEND_CLIENTS:
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def link_latest(folder: Path) -> None:
    """Make the files of ``folder`` be found in its parent too, in place of an earlier run's.

    Raises:
        OSError: Links cannot be made, or a real file has the name of one.
    """
    parent = folder.parent
    ours = re.compile(
        rf"client\d+_(?:result|stats)\.json|client\d+_output\.wav|{SUMMARY_NAME}|{PLOT_NAME}"
    )
    for path in parent.iterdir():
        if path.is_symlink() and ours.fullmatch(path.name):
            path.unlink()
    for path in folder.iterdir():
        (parent / path.name).symlink_to(path.relative_to(parent))


def table(reports: Sequence[Report], summary: dict[str, Any]) -> Table:
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


def _result(report: Report) -> str:
    if report.error is not None:
        return f"{report.error['code']}: {report.error['message']}"
    silenced_ms = report.server_stats.get("silenced_ms")
    return f"complete, {silenced_ms:.0f} ms silenced" if silenced_ms else "complete"


def _line(report: Report) -> dict[str, Any]:
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
    }


def _real_time_factor(reports: Sequence[Report]) -> dict[str, float | None]:
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


def _values(stats: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [item[name] for item in stats if item[name] is not None]
