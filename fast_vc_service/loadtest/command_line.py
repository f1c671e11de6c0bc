"""Many clients at the command line: progress, files, a table, an exit status."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fast_vc_service.audio.files import AudioFileError
from fast_vc_service.client.run import Plan, load_clip
from fast_vc_service.loadtest import processes
from fast_vc_service.loadtest.client_report import ClientReport
from fast_vc_service.loadtest.clip_clients import ClipClients
from fast_vc_service.loadtest.files import (
    PLOT_NAME,
    SUMMARY_NAME,
    link_latest,
    make_run_folder,
    save_result,
    write_json,
)
from fast_vc_service.loadtest.plot import plot
from fast_vc_service.loadtest.processes import ClientProcesses
from fast_vc_service.loadtest.summary import summarise
from fast_vc_service.loadtest.table import table


def run_and_present_load(
    plan: Plan,
    source: Path,
    output_dir: Path,
    *,
    count: int,
    workers: int,
    stagger_s: float,
    save_output: bool,
    wait_s: float = 0.0,
) -> int:
    """Run ``count`` clients at once; print on stdout how it went, errors on stderr.

    Args:
        plan: How each of them sends.
        source: Audio file they send.
        output_dir: Where the folder of the run goes; the latest run's files are linked in it.
        count: How many.
        workers: How many processes share them.
        stagger_s: Seconds between the starts of two clients.
        save_output: Whether their audio is written.
        wait_s: How long a client that finds no room waits for some.

    Returns:
        Exit status: 0 when every session was complete.
    """
    tell = Console(stderr=True, highlight=False, soft_wrap=True)
    out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    try:
        clip_s = len(load_clip(source, plan.sample_rate)) / plan.sample_rate
        folder = make_run_folder(output_dir)
        clients = ClipClients(plan, source, folder, save_output, wait_s)
        with ClientProcesses(clients, count, workers, stagger_s=stagger_s) as running:
            reports = _collected(running, count, clip_s, tell)
        for report in reports:
            if report.statistics is None:
                save_result(folder, report)
        summary = summarise(clients, reports)
        write_json(folder / SUMMARY_NAME, summary)
        plot(reports, folder / PLOT_NAME, url=plan.url, real_time=plan.real_time)
        link_latest(folder)
    except (AudioFileError, ValueError, OSError) as error:
        tell.print(f"error: {error}", style="red", markup=False)
        return 1
    out.print(table(reports, summary))
    out.print(f"wrote {folder}", markup=False)
    for line in failures(reports, waiting=wait_s > 0):
        tell.print(line, style="red", markup=False)
    return 1 if summary["failed"] else 0


def failures(reports: Sequence[ClientReport], *, waiting: bool) -> Iterator[str]:
    """Yield what went wrong: refusals together by their reason, everything else by client.

    Args:
        reports: Of all clients.
        waiting: Whether clients have waited for room.
    """
    refused: dict[str, list[int]] = defaultdict(list)
    for report in reports:
        if report.refused:
            refused[report.reason].append(report.number)
        elif not report.success:
            yield f"client {report.number} failed: {report.reason}"
    for reason, numbers in refused.items():
        who = ", ".join(map(str, numbers))
        were = "was" if len(numbers) == 1 else "were"
        yield f"{len(numbers)} of {len(reports)} clients {were} refused ({who}): {reason}"
    if refused:
        yield (
            "they waited as long as --timeout allows; allow more"
            if waiting
            else "with --wait, clients that find no room wait their turn"
        )


def _collected(
    running: ClientProcesses, count: int, clip_s: float, console: Console
) -> list[ClientReport]:
    """Start the clients, show how far they are, and return their reports in order."""
    sent_s = dict.fromkeys(range(1, count + 1), 0.0)
    waiting: set[int] = set()
    reports: dict[int, ClientReport] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} s sent"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{count} clients", total=clip_s * count)
        running.start()
        for event in running.events():
            if isinstance(event, processes.Progress):
                sent_s[event.number] = event.sent_s
                (waiting.add if event.waiting else waiting.discard)(event.number)
            else:
                reports[event.number] = event
                sent_s[event.number] = clip_s
                waiting.discard(event.number)
            failed = sum(not report.success for report in reports.values())
            bar.update(
                task,
                completed=sum(sent_s.values()),
                description=f"{count} clients, {len(waiting)} waiting, {len(reports)} finished, "
                f"{failed} failed",
            )
    return [reports[number] for number in sorted(reports)]
