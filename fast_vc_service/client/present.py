"""One clip through the service at the command line: progress, files, a summary, an exit status."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fast_vc_service.audio.files import AudioFileError, write_audio
from fast_vc_service.client.errors import VoiceServiceError
from fast_vc_service.client.run import Outcome, Plan, load_clip, run_clip, with_register


def run_and_present(plan: Plan, source: Path, output_dir: Path | None) -> int:
    """Send ``source`` through the service; print on stdout how it went, errors on stderr.

    Args:
        plan: How to send it.
        source: Audio file.
        output_dir: Where ``<source>_<time>_output.wav`` and ``..._timeline.json`` go; None writes
            nothing.

    Returns:
        Exit status: 0 when the session was complete.
    """
    tell = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        clip = load_clip(source, plan.sample_rate)
        plan = with_register(plan, clip)
        with _progress(tell) as bar:
            task = bar.add_task("sent", total=len(clip) / plan.sample_rate)
            outcome = asyncio.run(
                run_clip(clip, plan, lambda seconds: bar.update(task, completed=seconds))
            )
        files = [] if output_dir is None else save(outcome, source, output_dir)
    except VoiceServiceError as error:
        _tell_error(tell, error)
        return 1
    except (AudioFileError, ValueError, OSError) as error:
        tell.print(f"error: {error}", style="red", markup=False)
        return 1
    if outcome.error is None or outcome.timeline.recvs:
        Console(highlight=False).print(summary_table(outcome))
    for path in files:
        Console(highlight=False, soft_wrap=True).print(f"wrote {path}", markup=False)
    for warning in outcome.warnings:
        tell.print(f"warning: {warning.code}: {warning.message}", style="yellow", markup=False)
    if outcome.error is None:
        return 0
    _tell_error(tell, outcome.error)
    return 1


def save(outcome: Outcome, source: Path, output_dir: Path) -> list[Path]:
    """Write what a session gave; returns the files.

    Raises:
        OSError: They cannot be written.
        AudioFileError: The audio cannot be written.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).astimezone()
    name = f"{re.sub(r'[^A-Za-z0-9._-]', '-', source.stem)}_{now:%Y%m%d-%H%M%S-%f}"
    files = []
    if len(outcome.output):
        files.append(output_dir / f"{name}_output.wav")
        write_audio(files[-1], outcome.output, outcome.plan.sample_rate_out)
    if outcome.timeline.sends:
        files.append(output_dir / f"{name}_timeline.json")
        outcome.timeline.save(
            files[-1],
            {
                "session_id": None if outcome.ready is None else outcome.ready.session_id,
                "started": now.isoformat(),
                "sample_rate_in": outcome.plan.sample_rate,
                "sample_rate_out": outcome.plan.sample_rate_out,
                "real_time": outcome.plan.real_time,
                "chunk_ms": outcome.plan.chunk_ms,
            },
        )
    return files


def summary_table(outcome: Outcome) -> Table:
    """Return what a person wants to know of a session."""
    table = Table(show_header=False, title="session", title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    for name, value in _rows(outcome):
        table.add_row(name, value)
    return table


def milliseconds(value: float | None) -> str:
    """Format a duration in ms; ``-`` for None."""
    return "-" if value is None else f"{value:.1f} ms"


def _rows(outcome: Outcome) -> Iterator[tuple[str, str]]:
    plan, ready, stats = outcome.plan, outcome.ready, outcome.statistics()
    server = outcome.stats or {}
    if ready is not None:
        yield "session id", ready.session_id
        yield "voice, engine", f"{ready.voice or '-'}, {ready.engine or '-'}"
        yield "declared latency", milliseconds(ready.latency_ms)
    yield (
        "sent",
        f"{outcome.duration_in_s:.3f} s, {plan.options.get('encoding', 'PCM')}, "
        f"{plan.sample_rate} Hz, {'in real time' if plan.real_time else 'as fast as possible'}",
    )
    yield (
        "received",
        f"{outcome.duration_out_s:.3f} s, {plan.options.get('encoding_out', 'PCM')}, "
        f"{plan.sample_rate_out} Hz",
    )
    yield "first output after", milliseconds(stats["first_token_latency_ms"])
    yield "last output after last input", milliseconds(stats["end_to_end_latency_ms"])
    if plan.real_time:
        yield "latency of a chunk", _spread(stats["chunk_latency_stats"])
        yield "mouth to ear", _spread(stats["mouth_to_ear_stats"])
        yield "jitter", milliseconds(stats["jitter_ms"])
    if server:
        percentiles = (server.get(f"latency_{name}_ms") for name in ("p50", "p95", "p99"))
        yield "latency in the server", _named(("median", "p95", "p99"), percentiles)
    rtf = stats["real_time_factor"]
    if rtf["mean"] is not None:
        yield "real-time factor", f"mean {rtf['mean']:.3f}, p95 {_number(rtf['p95'])}"
    else:
        yield "real-time factor", "the server does not tell"
    took_ms = stats["timeline_summary"]["processing_start_to_end_ms"]
    if took_ms is not None and outcome.duration_in_s:
        ratio = took_ms / 1e3 / outcome.duration_in_s
        yield "whole session", f"{took_ms / 1e3:.3f} s, {ratio:.3f} of the clip's length"
    if stats["is_real_time"] is not None:
        yield "kept up in real time", "yes" if stats["is_real_time"] else "no"
    if server.get("silenced_ms"):
        yield "silenced by the server", milliseconds(server["silenced_ms"])
    quality = stats["send_timing_analysis"]["timing_quality"]
    if quality["is_sending_stable"] is not None:
        late = quality["chunks_with_significant_delay"]
        steady = "steady" if quality["is_sending_stable"] else "unsteady: this machine is busy"
        yield "sending", f"{steady}, {late} chunks more than 10 ms late"


def _spread(stats: dict[str, float | None]) -> str:
    names = ("median", "p95", "max")
    return _named(names, (stats[f"{name}_ms"] for name in names))


def _named(names: tuple[str, ...], values: Iterator[Any]) -> str:
    return ", ".join(
        f"{name} {milliseconds(value)}" for name, value in zip(names, values, strict=True)
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description} {task.completed:.1f} of {task.total:.1f} s"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _tell_error(console: Console, error: VoiceServiceError) -> None:
    console.print(f"error: {error}", style="red", markup=False)
    if error.details.get("retry_after_s") is not None:
        console.print(f"try again in {error.details['retry_after_s']} s", markup=False)
    if available := error.details.get("available"):
        names = available if isinstance(available, list) else [available]
        console.print(f"available: {', '.join(map(str, names))}", markup=False)
