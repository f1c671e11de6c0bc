"""Runs a :class:`JobQueue` against a clock that is only counted: no thread, no waiting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from fast_vc_service.engine.batching import Batch, Job, JobQueue

_SILENCE = np.zeros(1, np.float32)


@dataclass(frozen=True)
class Ran:
    """What became of a job.

    Attributes:
        job: The job.
        started_at: When its batch left.
        ended_at: When that was done.
        late: Whether it was skipped.
    """

    job: Job
    started_at: float
    ended_at: float
    late: bool


def job(
    slot_id: int,
    submitted_at: float = 0.0,
    *,
    deadline: float | None = None,
    late_at: float | None = None,
) -> Job:
    return Job(slot_id, _SILENCE, submitted_at, deadline, late_at, None, lambda _result: None)


def simulate(
    queue: JobQueue,
    jobs: Iterable[Job],
    step_s: Callable[[int], float],
    *,
    workers: int = 1,
    closing: Iterable[tuple[float, int]] = (),
    watch: Callable[[JobQueue, Batch, float], None] = lambda _queue, _batch, _now: None,
) -> list[Ran]:
    """Run ``jobs``, each from its ``submitted_at`` on, until none is left.

    Args:
        queue: Knows every session already.
        jobs: In any order.
        step_s: Seconds of a step over so many sessions; a batch that only skips takes none.
        workers: Threads that take batches.
        closing: When which session closes.
        watch: Called after every take.

    Returns:
        What ran, in the order of the batches' ends.
    """
    arrivals = sorted(jobs, key=lambda each: each.submitted_at)
    departures = sorted(closing)
    steps: list[tuple[float, float, Batch]] = []
    ran: list[Ran] = []
    now = 0.0
    while True:
        leave_at = queue.leave_at() if len(steps) < workers else math.inf
        nearest = min(
            arrivals[0].submitted_at if arrivals else math.inf,
            departures[0][0] if departures else math.inf,
            min((end for end, _, _ in steps), default=math.inf),
            leave_at,
        )
        if nearest == math.inf:
            return ran
        now = max(now, nearest)
        for step in sorted((step for step in steps if step[0] <= now), key=lambda step: step[0]):
            end, start, batch = step
            steps.remove(step)
            queue.finish(batch)
            ran += [Ran(each, start, end, late=True) for each in batch.late]
            ran += [Ran(each, start, end, late=False) for each in batch.jobs]
        while departures and departures[0][0] <= now:
            queue.close(departures.pop(0)[1])
        while arrivals and arrivals[0].submitted_at <= now:
            queue.push(arrivals.pop(0))
        while len(steps) < workers and queue.leave_at() <= now:
            batch = queue.take(now)
            watch(queue, batch, now)
            steps.append((now + (step_s(len(batch.jobs)) if batch.jobs else 0.0), now, batch))
