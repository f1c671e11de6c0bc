"""Which waiting work runs next, and when: pure logic, no thread and no clock of its own.

A batch leaves when every session that could join it is ready, when it is full, when its first
block has waited ``gather_s`` for company, or when the earliest deadline leaves no time to wait.

Live sessions go before file conversions, the earliest deadline first. Under overload that alone
would let the same sessions lose every time, so what a session has lost lately makes its next block
more urgent; and a file conversion that has waited :data:`FILE_PATIENCE_S` goes as if it were live.
Before that, file conversions share no step with live sessions, and while there are any, no step
with each other: a step must be short for whoever comes meanwhile.
A session's work stays in order and never runs twice at a time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field

from fast_vc_service.contract import FloatArray, Voice

FILE_PATIENCE_S = 2.0
"""Seconds after which the block of a file conversion no longer gives way to live ones."""

LOSS_CREDIT_S = 1.0
"""Seconds by which each block lost lately brings a session's next deadline forward."""

LOSS_MEMORY = 0.95
"""What is left of the memory of a loss after each further block."""

AT_ONCE = -math.inf
"""What :meth:`JobQueue.leave_at` returns when a batch has nothing to wait for."""


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
        silenced: None, or why silence stands for the block: ``"late"``, ``"failed"``, or
            ``"lost"``, after which no other result comes: the thread that had the session is gone.
        stepped: Sessions in that step; 0 when it was skipped.
    """

    samples: FloatArray = field(repr=False)
    step_s: float
    queued_s: float
    silenced: str | None
    stepped: int = 0


@dataclass(slots=True)
class Job:
    """One block of one session.

    Attributes:
        slot_id: Of the session; never used again, so late output cannot reach a new owner.
        block: ``[block]`` at 16 kHz.
        submitted_at: Monotonic seconds.
        deadline: Monotonic seconds by which its result is wanted; None marks a file conversion.
        late_at: When it is skipped instead of converted; None means never.
        change: Applied before the step.
        done: Called once with the result, in the submitter's own thread.
    """

    slot_id: int
    block: FloatArray = field(repr=False)
    submitted_at: float
    deadline: float | None
    late_at: float | None
    change: VoiceChange | None
    done: Callable[[Result], None] = field(repr=False)


@dataclass(slots=True)
class Batch:
    """What one model thread does next.

    Attributes:
        late: Jobs to skip first, those of a session in order.
        jobs: Jobs to convert in one step, at most one a session.
    """

    late: list[Job]
    jobs: list[Job]

    def __bool__(self) -> bool:
        return bool(self.late or self.jobs)

    @property
    def slot_ids(self) -> set[int]:
        """Sessions that have work in it."""
        return {job.slot_id for job in self.late} | {job.slot_id for job in self.jobs}


@dataclass(slots=True)
class _Queue:
    waiting: deque[Job] = field(default_factory=deque)
    running: bool = False
    live: bool = False
    lost_lately: float = 0.0

    def count(self, *, lost: bool) -> None:
        """Remember whether one more block was lost."""
        self.lost_lately = self.lost_lately * LOSS_MEMORY + lost


class JobQueue:
    """Work of many sessions, handed out in batches.

    Args:
        max_batch: Most jobs a step.
        gather_s: Longest that a ready block waits for others to share its step.
        workers: Threads that take batches; they share what is ready.

    Attributes:
        step_s: How long a step is expected to take; the owner keeps it up to date.
        max_batch: As given; the owner may change it.
    """

    def __init__(self, max_batch: int, *, gather_s: float = 0.0, workers: int = 1) -> None:
        self.step_s = 0.0
        self.max_batch = max_batch
        self._gather_s = gather_s
        self._workers = workers
        self._busy = 0
        self._queues: dict[int, _Queue] = {}
        self._ready: dict[int, _Queue] = {}
        self._running = 0
        self._leave_by = math.inf

    def __len__(self) -> int:
        """Jobs that wait."""
        return sum(len(queue.waiting) for queue in self._queues.values())

    @property
    def ready(self) -> Set[int]:
        """Sessions that have work and do not run."""
        return self._ready.keys()

    def open(self, slot_id: int) -> None:
        """Expect work of a new session."""
        self._queues[slot_id] = _Queue()

    def close(self, slot_id: int) -> None:
        """Forget a session that is gone, and the work of it that waits."""
        gone = self._queues.pop(slot_id, None)
        self._ready.pop(slot_id, None)
        if gone is not None and gone.running:
            self._running -= 1

    def push(self, job: Job) -> None:
        """Queue ``job`` behind the other jobs of its session; ignored when that is closed."""
        queue = self._queues.get(job.slot_id)
        if queue is None:
            return
        queue.waiting.append(job)
        queue.live = job.deadline is not None
        if not queue.running and len(queue.waiting) == 1:
            self._ready[job.slot_id] = queue
            self._leave_by = min(self._leave_by, self._latest_start(job))

    def leave_at(self) -> float:
        """When the next batch leaves, in monotonic seconds; infinite while nothing can run."""
        ready = len(self._ready)
        if not ready:
            return math.inf
        if ready >= self.max_batch or ready + self._running >= len(self._queues):
            return AT_ONCE
        return self._leave_by

    def take(self, now: float) -> Batch:
        """Return what to run at ``now``; empty when nothing can.

        Every session in the batch counts as running until :meth:`finish`.
        """
        late: list[Job] = []
        heads: list[tuple[tuple[bool, float], int]] = []
        for slot_id, queue in self._ready.items():
            waiting = queue.waiting
            while waiting and (late_at := waiting[0].late_at) is not None and late_at < now:
                late.append(waiting.popleft())
                queue.count(lost=True)
            if waiting:
                heads.append((_urgency(waiting[0], queue.lost_lately, now), slot_id))
        heads.sort()
        jobs = []
        for slot_id in self._together(heads):
            queue = self._ready[slot_id]
            queue.count(lost=False)
            jobs.append(queue.waiting.popleft())
        batch = Batch(late, jobs)
        self._start(batch)
        return batch

    def _together(self, heads: list[tuple[tuple[bool, float], int]]) -> list[int]:
        """Return the sessions of the next step, of all that could run, the most urgent first."""
        urgent = [slot_id for (gives_way, _), slot_id in heads if not gives_way]
        if not urgent and any(queue.live for queue in self._queues.values()):
            return [slot_id for _, slot_id in heads[:1]]
        fit = urgent or [slot_id for _, slot_id in heads]
        share = -(-len(fit) // max(1, self._workers - self._busy))
        return fit[: min(self.max_batch, share)]

    def finish(self, batch: Batch) -> None:
        """Take note that ``batch`` has run: its sessions may run again."""
        self._busy -= 1
        for slot_id in batch.slot_ids:
            queue = self._queues.get(slot_id)
            if queue is not None:
                queue.running = False
                self._running -= 1
                if queue.waiting:
                    self._ready[slot_id] = queue
                    first = self._latest_start(queue.waiting[0])
                    self._leave_by = min(self._leave_by, first)

    def _start(self, batch: Batch) -> None:
        if batch:
            self._busy += 1
            for slot_id in batch.slot_ids:
                self._ready.pop(slot_id).running = True
                self._running += 1
        self._leave_by = min(self._starts(self._ready.values()), default=math.inf)

    def _starts(self, queues: Iterable[_Queue]) -> Iterable[float]:
        return (self._latest_start(queue.waiting[0]) for queue in queues)

    def _latest_start(self, job: Job) -> float:
        gathered = job.submitted_at + self._gather_s
        return gathered if job.deadline is None else min(gathered, job.deadline - self.step_s)


def _urgency(job: Job, lost_lately: float, now: float) -> tuple[bool, float]:
    """Sort key; smaller goes first."""
    if job.deadline is not None:
        return (False, job.deadline - lost_lately * LOSS_CREDIT_S)
    patient_until = job.submitted_at + FILE_PATIENCE_S
    return (now < patient_until, patient_until)
