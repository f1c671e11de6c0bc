"""What ``fast-vc session show|stats ID`` tells of a recording; the command line prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from fast_vc_service.client.statistics import ChunkLatency, chunk_latencies, statistics
from fast_vc_service.client.timeline import TimelineEntry
from fast_vc_service.commands.recordings import Conversation, RecordingError, find, read

_BINS = 20
_BAR = 40


@dataclass(frozen=True)
class SessionStatistics:
    """Figures of a recorded session.

    Attributes:
        figures: The statistics file of the clients' specification, by the server's clock.
        histograms: Values in ms by title, for :func:`histograms_as_text` and
            :func:`plot_histograms`.
    """

    figures: Mapping[str, Any]
    histograms: Mapping[str, Sequence[float]]


def show(outputs: Path, identifier: str, *, limit: int | None = 200) -> Table:
    """Return the timeline of a recording as a table, oldest event first.

    Args:
        outputs: The outputs folder.
        identifier: Which recording, as for :func:`find`.
        limit: Most events shown; None shows all.

    Raises:
        RecordingError: No such recording, or its timeline cannot be read.
    """
    recording = find(outputs, identifier)
    conversation = read(recording)
    latencies_ms = {chunk.received_s: chunk.latency_ms for chunk in _chunks(conversation)}
    entries = conversation.timeline.entries
    table = Table(title=_title(conversation), caption=_caption(conversation, limit))
    for name in ("time s", "event", "audio ms", "so far ms", "latency ms"):
        table.add_column(name, justify="left" if name == "event" else "right")
    reached_ms = {"send": 0.0, "recv": 0.0}
    for entry in entries[:limit]:
        length_ms = entry.cumulative_ms - reached_ms[entry.event_type]
        reached_ms[entry.event_type] = entry.cumulative_ms
        latency_ms = latencies_ms.get(entry.timestamp) if entry.event_type == "recv" else None
        table.add_row(
            f"{entry.timestamp - entries[0].timestamp:.3f}",
            "-> input" if entry.event_type == "send" else "<- output",
            f"{length_ms:.1f}",
            f"{entry.cumulative_ms:.1f}",
            "" if latency_ms is None else f"{latency_ms:.1f}",
        )
    return table


def stats(outputs: Path, identifier: str) -> SessionStatistics:
    """Return the figures of a recording.

    Raises:
        RecordingError: No such recording, or its timeline cannot be read.
    """
    return statistics_of(read(find(outputs, identifier)))


def histograms_as_text(session: SessionStatistics) -> str:
    """Draw the histograms of ``session`` with characters."""
    blocks = []
    for title, values in session.histograms.items():
        if not values:
            blocks.append(f"{title} (no values)")
            continue
        counts, edges = np.histogram(values, bins=_BINS)
        tallest = counts.max()
        rows = [
            f"{low:10.1f} to {high:10.1f} {count:8d} {'#' * round(_BAR * count / tallest)}".rstrip()
            for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
        ]
        blocks.append("\n".join([f"{title} ({len(values)} values)", *rows]))
    return "\n\n".join(blocks) + "\n"


def plot_histograms(session: SessionStatistics, path: Path) -> None:
    """Draw the histograms of ``session`` into a PNG file.

    Raises:
        RecordingError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(session.histograms), 4), layout="constrained")
    panels = figure.subplots(1, len(session.histograms), squeeze=False)[0]
    for axes, (title, values) in zip(panels, session.histograms.items(), strict=True):
        axes.hist(values, bins=_BINS)
        axes.set(xlabel=title, ylabel="count")
        axes.grid(alpha=0.3)
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error}") from error


def statistics_of(conversation: Conversation) -> SessionStatistics:
    """Return the figures of a recorded conversation."""
    timeline, header = conversation.timeline, conversation.header
    reached_ms = [0.0, *(entry.cumulative_ms for entry in timeline.sends)]
    figures = statistics(
        timeline,
        chunk_ms=float(np.median(np.diff(reached_ms))) if timeline.sends else 0.0,
        real_time=header["realtime"],
        delay_ms=header["lead_ms"],
    )
    histograms = {
        "latency of output, ms": [chunk.latency_ms for chunk in _chunks(conversation)],
        "time between input messages, ms": _intervals_ms(timeline.sends),
        "time between output messages, ms": _intervals_ms(timeline.recvs),
    }
    return SessionStatistics(figures, histograms)


def _chunks(conversation: Conversation) -> list[ChunkLatency]:
    """Return the latencies of a session in real time; an upload's mean nothing: none of it."""
    if not conversation.header["realtime"]:
        return []
    return chunk_latencies(conversation.timeline, conversation.header["lead_ms"])


def _intervals_ms(entries: Sequence[TimelineEntry]) -> list[float]:
    return [1e3 * (later.timestamp - earlier.timestamp) for earlier, later in pairwise(entries)]


def _title(conversation: Conversation) -> Text:
    header = conversation.header
    return Text(f"{header['session_id']!r}, {header['started']}")


def _caption(conversation: Conversation, limit: int | None) -> Text:
    timeline = conversation.timeline
    events = len(timeline.sends) + len(timeline.recvs)
    remarks = [
        f"{events} events" + (f", the first {limit} shown" if (limit or events) < events else "")
    ]
    if not conversation.finished:
        remarks.append("still running, or its process died")
    if cut := conversation.header.get("cut"):
        remarks.append(f"cut: {cut}")
    return Text("; ".join(remarks))
