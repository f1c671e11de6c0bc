"""Which waiting work runs next: pure logic, no thread and no clock of its own.

Live sessions go before file conversions; among live ones the earliest deadline goes first, among
files the longest waiting. A session's work stays in order and never runs twice at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from fast_vc_service.contract import FloatArray, Voice


@dataclass(frozen=True, slots=True)
class VoiceChange:
    """New target of a session: voice and pitch shift in semitones."""

    voice: Voice
    pitch_shift: float


@dataclass(slots=True)
class Result:
    """The converter's answer to one job.

    Attributes:
        samples: ``[block_out]`` at the converter's output rate.
        step_s: Wall seconds of the step that carried the block; 0 when it was skipped.
        queued_s: Seconds between submission and the start of the step.
        silenced: None, or why silence stands for the block: ``"late"`` or ``"failed"``.
    """

    samples: FloatArray = field(repr=False)
    step_s: float
    queued_s: float
    silenced: str | None


@dataclass(slots=True)
class Job:
    """One block of one session.

    Attributes:
        channel: Id of the session; never used again, so late output cannot reach a new owner.
        block: ``[block]`` at 16 kHz.
        submitted_at: Monotonic seconds.
        due_at: Monotonic seconds of its deadline: orders live work; None marks a file conversion.
        late_at: When it is skipped instead of converted; None means never.
        change: Applied before the step.
        done: Called once with the result, in the submitter's own thread.
    """

    channel: int
    block: FloatArray = field(repr=False)
    submitted_at: float
    due_at: float | None
    late_at: float | None
    change: VoiceChange | None
    done: Callable[[Result], None] = field(repr=False)


class JobQueue:
    """Work of many sessions, handed out in batches.

    Args:
        max_batch: Most jobs a batch.
    """

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._waiting: dict[int, deque[Job]] = {}
        self._running: set[int] = set()

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._waiting.values())

    @property
    def runnable(self) -> bool:
        """Whether :meth:`take` would return any job."""
        return any(channel not in self._running for channel in self._waiting)

    def push(self, job: Job) -> None:
        """Queue ``job`` behind the other jobs of its session."""
        self._waiting.setdefault(job.channel, deque()).append(job)

    def take(self) -> list[Job]:
        """Return the jobs to run now, at most one a session; empty when none can run.

        Every session in the batch counts as running until :meth:`finish`.
        """
        heads = [jobs[0] for channel, jobs in self._waiting.items() if channel not in self._running]
        heads.sort(key=_urgency)
        batch = heads[: self._max_batch]
        for job in batch:
            jobs = self._waiting[job.channel]
            jobs.popleft()
            if not jobs:
                del self._waiting[job.channel]
            self._running.add(job.channel)
        return batch

    def finish(self, batch: list[Job]) -> None:
        """Mark the sessions of ``batch`` as no longer running."""
        self._running.difference_update(job.channel for job in batch)

    def cancel(self, channel: int) -> None:
        """Forget the waiting work of a session that is gone."""
        self._waiting.pop(channel, None)


def _urgency(job: Job) -> tuple[bool, float]:
    if job.due_at is None:
        return (True, job.submitted_at)
    return (False, job.due_at)
