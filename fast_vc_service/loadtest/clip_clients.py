"""Clients that each send one clip through a session of the client library, and keep files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fast_vc_service.client.errors import VoiceServiceError
from fast_vc_service.client.run import Outcome, Plan, load_clip, run_clip
from fast_vc_service.client.statistics import chunk_latencies, send_delays_ms
from fast_vc_service.contract import FloatArray
from fast_vc_service.loadtest.client_report import NO_ROOM, WORKER_FAILED, ClientReport, failed
from fast_vc_service.loadtest.files import save_client
from fast_vc_service.loadtest.processes import Begin, Progress, Tell

RETRY_S = 1.0
"""When to ask for room again if the service does not say."""

_TELL_EVERY_S = 0.25


@dataclass(frozen=True)
class ClipClients:
    """Clients that send the same clip.

    Attributes:
        plan: How each of them sends.
        source: What they send.
        folder: Existing folder; each client's result, statistics and audio go there.
        save_output: Whether the audio does.
        wait_s: How long a client that finds no room waits for some; 0 does not wait.
    """

    plan: Plan
    source: Path
    folder: Path
    save_output: bool = True
    wait_s: float = 0.0

    def run(self, numbers: Sequence[int], begin: Begin, tell: Tell) -> None:
        """Run the clients ``numbers`` (:class:`~fast_vc_service.loadtest.processes.Clients`)."""
        clip = load_clip(self.source, self.plan.sample_rate)
        schedule = begin()

        async def run_one(number: int) -> None:
            await asyncio.sleep(schedule.begin_s(number) - time.monotonic())
            tell(await self._run_client(number, clip, tell))

        async def run_all() -> None:
            await asyncio.gather(*(run_one(number) for number in numbers))

        asyncio.run(run_all())

    async def _run_client(self, number: int, clip: FloatArray, tell: Tell) -> ClientReport:
        options = self.plan.options.copy()
        options["session_id"] = f"{self.folder.name}-{number}"
        plan = replace(self.plan, options=options)
        try:
            outcome, waited_s = await self._run_when_there_is_room(number, plan, clip, tell)
            report = _report(number, outcome, waited_s)
            # In a thread: the other clients of this process must not wait for the disk.
            await asyncio.to_thread(
                save_client, self.folder, report, outcome, audio=self.save_output
            )
        except (VoiceServiceError, ValueError, OSError) as error:
            report = failed(number, WORKER_FAILED, str(error))
        return report

    async def _run_when_there_is_room(
        self, number: int, plan: Plan, clip: FloatArray, tell: Tell
    ) -> tuple[Outcome, float]:
        """Return what became of the clip, and how long it waited before its session began."""
        started_s = time.monotonic()
        waited_s = 0.0
        while True:
            outcome = await run_clip(clip, plan, _now_and_then(number, tell))
            error = outcome.error
            if error is None or error.code not in NO_ROOM:
                return outcome, waited_s
            retry_s = _retry_after_s(error)
            if waited_s + retry_s > self.wait_s:
                return outcome, waited_s
            tell(Progress(number, 0.0, waiting=True))
            await asyncio.sleep(retry_s)
            waited_s = time.monotonic() - started_s


def _retry_after_s(error: VoiceServiceError) -> float:
    told = error.details.get("retry_after_s")
    return float(told) if isinstance(told, int | float) and told > 0 else RETRY_S


def _now_and_then(number: int, tell: Tell) -> Callable[[float], None]:
    last_told_s = 0.0

    def on_sent(seconds: float) -> None:
        nonlocal last_told_s
        if (now_s := time.monotonic()) - last_told_s > _TELL_EVERY_S:
            last_told_s = now_s
            tell(Progress(number, seconds))

    return on_sent


def _report(number: int, outcome: Outcome, waited_s: float) -> ClientReport:
    real_time = outcome.plan.real_time
    timeline = outcome.timeline
    return ClientReport(
        number,
        error=None if outcome.error is None else outcome.error.as_dict(),
        chunks=chunk_latencies(timeline, outcome.delay_ms) if real_time else [],
        send_delays_ms=send_delays_ms(timeline.sends) if real_time else [],
        server_stats=dict(outcome.stats or {}),
        statistics=outcome.statistics(),
        output_at=[(entry.timestamp, entry.cumulative_ms / 1e3) for entry in timeline.recvs],
        waited_s=waited_s,
    )
