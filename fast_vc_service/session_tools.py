"""What ``fast-vc session export|show|stats ID`` does with recordings; the command line prints it.

An ID is a session id or a recording's name (slug), whole or the beginning of exactly one. It is
compared with the names found under the outputs folder and never becomes a path itself, so nothing
outside of that folder can be reached. A recording that is still running, or whose process died,
is read as far as it was written.
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from fast_vc_service.client.statistics import ChunkLatency, chunk_latencies, statistics
from fast_vc_service.client.timeline import Timeline, TimelineEntry
from fast_vc_service.errors import UserError
from fast_vc_service.sessions.recording import (
    SAFE_CHARACTERS,
    Recording,
    find_recordings,
    open_private,
    safe_part,
    slug_head,
    write_document,
)

SHOWN_NAMES = 5
"""Names that an error lists at most."""

_BINS = 20
_BAR = 40


class RecordingError(UserError):
    """A recording cannot be found, read or exported; the message says why."""


@dataclass(frozen=True)
class Conversation:
    """The timeline of a recording.

    Attributes:
        header: ``session_id``, ``started``, sample rates, ``realtime``, ``lead_ms`` and, of a
            finished one, ``cut``: why the recording ended before the session, or None.
        timeline: When audio came in (send) and went out (recv), by the server's clock.
        finished: False while the session runs, or when its process died.
    """

    header: Mapping[str, Any]
    timeline: Timeline
    finished: bool


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


def find(outputs: Path, identifier: str) -> Recording:
    """Return the one recording under ``outputs`` that ``identifier`` names.

    Raises:
        RecordingError: None or several are named so.
    """
    recordings = list(find_recordings(outputs))
    for matches in (_is_exactly, _begins_with):
        found = [each for each in recordings if matches(each.slug, identifier)]
        if len(found) == 1:
            return found[0]
        if found:
            raise RecordingError(
                f"'{identifier}' names {len(found)} recordings; choose one: {_names(found)}"
            )
    newest = f"the newest are: {_names(recordings)}" if recordings else "there are none at all"
    raise RecordingError(f"no recording in {outputs} is named '{identifier}'; {newest}")


def read(recording: Recording) -> Conversation:
    """Read a recording's timeline, finished or not.

    Raises:
        RecordingError: There is none, or it is damaged.
    """
    if document := recording.files.get("timeline.json"):
        return _parsed(document, finished=True)
    if lines := recording.files.get("timeline.jsonl"):
        return _parsed(lines, finished=False)
    raise RecordingError(f"{recording.slug}: its timeline is gone; only audio is left")


def export(outputs: Path, identifier: str, destination: Path, *, as_folder: bool = False) -> Path:
    """Copy a recording's audio, timeline and statistics out of the outputs folder.

    Args:
        outputs: The outputs folder.
        identifier: Which recording, as for :func:`find`.
        destination: An existing folder, in which ``<slug>.zip`` or ``<slug>/`` is made.
        as_folder: A folder instead of a zip file.

    Returns:
        What was made; only its owner may read it.

    Raises:
        RecordingError: No such recording, or the destination is missing or taken.
    """
    recording = find(outputs, identifier)
    conversation = read(recording)
    if not destination.is_dir():
        raise RecordingError(f"{destination}: expected an existing folder to export to")
    target = destination / (recording.slug if as_folder else f"{recording.slug}.zip")
    texts = {
        "timeline.json": _as_document(conversation),
        "statistics.json": json.dumps(_statistics(conversation).figures, indent=2) + "\n",
    }
    audio = {kind: path for kind, path in recording.files.items() if kind.endswith(".wav")}
    try:
        if as_folder:
            _write_folder(target, texts, audio)
        else:
            _write_zip(target, texts, audio)
    except FileExistsError as error:
        raise RecordingError(f"{target}: is there already; remove it first") from error
    except OSError as error:
        raise RecordingError(f"{target}: cannot be written: {error}") from error
    return target


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
    return _statistics(read(find(outputs, identifier)))


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


def _is_exactly(slug: str, identifier: str) -> bool:
    return slug == identifier or slug.startswith(f"{slug_head(identifier)}-")


def _begins_with(slug: str, identifier: str) -> bool:
    if not identifier:
        return False
    as_id = len(identifier) <= SAFE_CHARACTERS and slug.startswith(safe_part(identifier))
    return as_id or slug.startswith(identifier)


def _names(recordings: Sequence[Recording]) -> str:
    names = [recording.slug for recording in recordings[:SHOWN_NAMES]]
    more = len(recordings) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _parsed(path: Path, *, finished: bool) -> Conversation:
    try:
        text = path.read_text(encoding="utf-8")
        if finished:
            header = json.loads(text)
            entries = header.pop("entries")
        else:
            # A killed process may have left half a line.
            whole = text[: text.rfind("\n") + 1].splitlines()
            header, *entries = (json.loads(line) for line in whole)
        timeline = Timeline(TimelineEntry(**entry) for entry in entries)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordingError(f"{path}: expected a timeline, got {error!r}") from error
    return Conversation(header, timeline, finished)


def _statistics(conversation: Conversation) -> SessionStatistics:
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


def _as_document(conversation: Conversation) -> str:
    document = io.StringIO()
    lines = (json.dumps(entry.as_dict()) for entry in conversation.timeline.entries)
    write_document(document, conversation.header, lines)
    return document.getvalue()


def _write_folder(target: Path, texts: Mapping[str, str], audio: Mapping[str, Path]) -> None:
    target.mkdir(mode=0o700)
    for name, text in texts.items():
        with open_private(target / name) as file:
            file.write(text.encode())
    for name, path in audio.items():
        with path.open("rb") as source, open_private(target / name) as file:
            shutil.copyfileobj(source, file)


def _write_zip(target: Path, texts: Mapping[str, str], audio: Mapping[str, Path]) -> None:
    with open_private(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
        for name, path in audio.items():
            archive.write(path, name)
