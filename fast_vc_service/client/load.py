"""Many clients at the same time, shared among processes so that they do not delay each other."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import queue
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from fast_vc_service.audio.files import write_audio
from fast_vc_service.client.errors import VoiceServiceError
from fast_vc_service.client.run import Outcome, Plan, load_clip, run_clip
from fast_vc_service.client.statistics import ChunkLatency, chunk_latencies
from fast_vc_service.contract import FloatArray

WORKER_FAILED = "WORKER_FAILED"
"""The process a client ran in ended before the client did."""

_START_TIMEOUT_S = 120.0
_POLL_S = 0.5
_GOODBYE_S = 5.0
_TELL_EVERY_S = 0.25


@dataclass(frozen=True)
class Load:
    """Clients to run.

    Attributes:
        plan: How each of them sends.
        source: What they send.
        clients: How many; all of them run at the same time.
        workers: How many processes share them.
        stagger_s: Seconds between the starts of two clients.
        folder: Existing folder; each client's result, statistics and audio go there.
        save_output: Whether the audio does.
    """

    plan: Plan
    source: Path
    clients: int
    workers: int
    folder: Path
    stagger_s: float = 0.0
    save_output: bool = True


@dataclass(frozen=True)
class Report:
    """What became of one client, without its audio.

    Attributes:
        number: Which one, from 1.
        error: Why it failed, as in its result file; None when it did not.
        statistics: Its statistics file; None when its process failed.
        server_stats: The server's own.
        chunks: Latency of each receive; empty without a clock.
        output_at: (seconds since the epoch, seconds of audio received) of each receive.
    """

    number: int
    error: dict[str, Any] | None = None
    statistics: dict[str, Any] | None = None
    server_stats: dict[str, Any] = field(default_factory=dict)
    chunks: list[ChunkLatency] = field(default_factory=list)
    output_at: list[tuple[float, float]] = field(default_factory=list)

    @property
    def success(self) -> bool:
        """Whether the session was complete."""
        return self.error is None


_Told = tuple[int, float] | Report | None
"""A worker tells that a client has sent so many seconds, that one is finished, or: I am there."""


def run_load(
    load: Load,
    on_sent: Callable[[int, float], None] = lambda _number, _seconds: None,
    on_done: Callable[[Report], None] = lambda _report: None,
) -> list[Report]:
    """Run all clients of ``load`` and wait for them.

    To be called from a program that can be imported without running
    (``if __name__ == "__main__"``), since its processes are spawned.

    Args:
        load: What to run.
        on_sent: Told now and then how many seconds a client has sent.
        on_done: Told when a client is finished.

    Returns:
        A report for each client, in order; no client's failure raises.
    """
    context = multiprocessing.get_context("spawn")
    told: Queue[_Told] = context.Queue()
    go = context.Event()
    workers = min(load.workers, load.clients)
    shares = [range(first, load.clients + 1, workers) for first in range(1, workers + 1)]
    processes = [
        context.Process(target=_work, args=(load, share, told, go), daemon=True) for share in shares
    ]
    reports: dict[int, Report] = {}

    def finished(report: Report) -> None:
        reports[report.number] = report
        on_done(report)

    def take(item: _Told) -> int:
        """Pass on what a worker told; 1 when it was that it is there."""
        if item is None:
            return 1
        if isinstance(item, Report):
            finished(item)
        else:
            on_sent(*item)
        return 0

    there = 0
    gone: list[int] = []
    try:
        for process in processes:
            process.start()
        while len(reports) < load.clients:
            try:
                item = told.get(timeout=_POLL_S)
            except queue.Empty:
                # What a process told before its end has arrived by now, one silence later.
                for number in (number for worker in gone for number in shares[worker]):
                    if number not in reports:
                        finished(_lost(load, number))
                gone = [i for i, process in enumerate(processes) if process.exitcode is not None]
            else:
                there += take(item)
            if there + len(gone) >= workers:
                go.set()
        for process in processes:
            process.join(_GOODBYE_S)
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
    return [reports[number] for number in sorted(reports)]


def _work(load: Load, share: Sequence[int], told: Queue[_Told], go: Event) -> None:
    """Run the clients of one process; the parent alone listens to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    clip = load_clip(load.source, load.plan.sample_rate)
    told.put(None)
    if go.wait(_START_TIMEOUT_S):
        asyncio.run(_run_share(load, share, clip, told))


async def _run_share(
    load: Load, share: Sequence[int], clip: FloatArray, told: Queue[_Told]
) -> None:
    async def run_one(number: int) -> None:
        await asyncio.sleep((number - 1) * load.stagger_s)
        told.put(await _run_client(load, number, clip, told))

    await asyncio.gather(*(run_one(number) for number in share))


async def _run_client(load: Load, number: int, clip: FloatArray, told: Queue[_Told]) -> Report:
    plan = load.plan
    options = plan.options.copy()
    options["session_id"] = f"{load.folder.name}-{number}"
    last_told_s = 0.0

    def on_sent(seconds: float) -> None:
        nonlocal last_told_s
        if (now_s := time.monotonic()) - last_told_s > _TELL_EVERY_S:
            last_told_s = now_s
            told.put((number, seconds))

    try:
        outcome = await run_clip(clip, replace(plan, options=options), on_sent)
        report = _report(number, outcome)
        # In a thread: the other clients of this process must not wait for the disk.
        await asyncio.to_thread(_save, load, outcome, report)
    except (VoiceServiceError, ValueError, OSError) as error:
        report = _failed(number, WORKER_FAILED, str(error))
    return report


def _report(number: int, outcome: Outcome) -> Report:
    chunks = chunk_latencies(outcome.timeline, outcome.delay_ms) if outcome.plan.real_time else []
    return Report(
        number,
        None if outcome.error is None else outcome.error.as_dict(),
        outcome.statistics(),
        dict(outcome.stats or {}),
        chunks,
        [(entry.timestamp, entry.cumulative_ms / 1e3) for entry in outcome.timeline.recvs],
    )


def _lost(load: Load, number: int) -> Report:
    report = _failed(number, WORKER_FAILED, "the process this client ran in has ended")
    _write_result(load, report, {})
    return report


def _failed(number: int, code: str, message: str) -> Report:
    return Report(number, VoiceServiceError(code, message).as_dict())


def _save(load: Load, outcome: Outcome, report: Report) -> None:
    stem = f"client{report.number}"
    if load.save_output and len(outcome.output):
        path = load.folder / f"{stem}_output.wav"
        write_audio(path, outcome.output, load.plan.sample_rate_out)
    write_json(load.folder / f"{stem}_stats.json", report.statistics)
    _write_result(
        load,
        report,
        {
            "session_id": None if outcome.ready is None else outcome.ready.session_id,
            "duration_in_s": outcome.duration_in_s,
            "duration_out_s": outcome.duration_out_s,
            "server_stats": report.server_stats,
            "warnings": [asdict(warning) for warning in outcome.warnings],
            "send_timeline": [entry.as_dict() for entry in outcome.timeline.sends],
            "recv_timeline": [entry.as_dict() for entry in outcome.timeline.recvs],
        },
    )


def _write_result(load: Load, report: Report, content: Mapping[str, object]) -> None:
    write_json(
        load.folder / f"client{report.number}_result.json",
        {"client": report.number, "success": report.success, "error": report.error, **content},
    )


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON.

    Raises:
        OSError: The file cannot be written.
    """
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
