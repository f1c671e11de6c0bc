"""The picture of a load: latency over time, a line a client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fast_vc_service.loadtest.client_report import ClientReport

_LEGEND_CLIENTS = 12


def plot(reports: Sequence[ClientReport], path: Path, *, url: str, real_time: bool) -> None:
    """Draw latency over time as PNG, a line a client; without a clock, output over time.

    Raises:
        OSError: The file cannot be written.
    """
    from matplotlib.figure import Figure

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
    axes.set_title(f"{len(reports)} clients, {url}")
    axes.grid(visible=True, alpha=0.3)
    if real_time:
        axes.set_ylim(bottom=0)
    if len(reports) <= _LEGEND_CLIENTS:
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
