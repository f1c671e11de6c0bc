"""Many clients at the command line: progress, files, a table, an exit status."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fast_vc_service.audio.files import AudioFileError
from fast_vc_service.client.errors import VoiceServiceError
from fast_vc_service.client.load import Load, Report, run_load, write_json
from fast_vc_service.client.load_report import (
    PLOT_NAME,
    SUMMARY_NAME,
    link_latest,
    plot,
    summarise,
    table,
)
from fast_vc_service.client.run import Plan, load_clip


def run_and_present_load(
    plan: Plan,
    source: Path,
    output_dir: Path,
    *,
    clients: int,
    workers: int,
    stagger_s: float,
    save_output: bool,
) -> int:
    """Run ``clients`` clients at once; print on stdout how it went, errors on stderr.

    Args:
        plan: How each of them sends.
        source: Audio file they send.
        output_dir: Where the folder of the run goes; the latest run's files are linked in it.
        clients: How many.
        workers: How many processes share them.
        stagger_s: Seconds between the starts of two clients.
        save_output: Whether their audio is written.

    Returns:
        Exit status: 0 when every session was complete.
    """
    tell = Console(stderr=True, highlight=False, soft_wrap=True)
    out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    try:
        clip_s = len(load_clip(source, plan.sample_rate)) / plan.sample_rate
        folder = make_run_folder(output_dir)
        load = Load(plan, source, clients, workers, folder, stagger_s, save_output)
        reports = _run(load, clip_s, tell)
        summary = summarise(load, reports)
        write_json(folder / SUMMARY_NAME, summary)
        plot(load, reports, folder / PLOT_NAME)
        link_latest(folder)
    except (AudioFileError, ValueError, OSError) as error:
        tell.print(f"error: {error}", style="red", markup=False)
        return 1
    out.print(table(reports, summary))
    out.print(f"wrote {folder}", markup=False)
    for report in reports:
        if report.error is not None:
            reason = _reason(report.error)
            tell.print(f"client {report.number} failed: {reason}", style="red", markup=False)
    return 1 if summary["failed"] else 0


def make_run_folder(parent: Path) -> Path:
    """Make and return a new folder in ``parent``, named by the time.

    Raises:
        OSError: It cannot be made.
    """
    folder = parent / f"{datetime.now(UTC).astimezone():%Y%m%d-%H%M%S-%f}"
    folder.mkdir(parents=True)
    return folder


def _run(load: Load, clip_s: float, console: Console) -> list[Report]:
    sent_s = dict.fromkeys(range(1, load.clients + 1), 0.0)
    finished = failed = 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} s sent"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=clip_s * load.clients)

        def show() -> None:
            bar.update(
                task,
                completed=sum(sent_s.values()),
                description=f"{load.clients} clients, {finished} finished, {failed} failed",
            )

        def on_sent(number: int, seconds: float) -> None:
            sent_s[number] = seconds
            show()

        def on_done(report: Report) -> None:
            nonlocal finished, failed
            finished += 1
            failed += not report.success
            sent_s[report.number] = clip_s
            show()

        show()
        return run_load(load, on_sent, on_done)


def _reason(error: dict[str, Any]) -> str:
    return str(VoiceServiceError(error["code"], error["message"], error["details"]))
