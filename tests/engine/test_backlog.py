"""What becomes of audio that a client sends all at once after it has stalled; time is counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from simulation import Ran, job, simulate

from fast_vc_service.contract import SAMPLE_RATE_IN
from fast_vc_service.engine.batching import Job, JobQueue
from fast_vc_service.engine.stream import Stream
from fast_vc_service.sessions.outbox import Outbox
from fast_vc_service.sessions.pacing import Pacing, SessionLimits
from stub_converter import StubConverter

BLOCK_S = 0.08
LATE_S = 2 * BLOCK_S
BUFFERED_S = 2.0
SPEAKS_S = 2.0


def pacing() -> Pacing:
    stream = Stream(
        StubConverter(block=round(BLOCK_S * SAMPLE_RATE_IN)), rate_in=16_000, rate_out=16_000
    )
    outbox = Outbox(lambda _payload: True, lambda _block: None)
    limits = SessionLimits(max_buffered_ms=BUFFERED_S * 1e3)
    return Pacing(stream, limits, realtime=True, converting=(), outbox=outbox, clock=lambda: 0.0)


def stalled(slot: int, stall_s: float, step_s: float) -> tuple[list[Job], list[bool]]:
    """Blocks of a client that speaks, stalls, and sends its backlog: let in as there is room."""
    told, jobs, behind = pacing(), [], []
    told.begin(0.0)
    room = round(BUFFERED_S / BLOCK_S)
    done_at = [0.0]
    for index in range(round((2 * SPEAKS_S + stall_s) / BLOCK_S)):
        sent_at = (index + 1) * BLOCK_S
        if SPEAKS_S < sent_at <= SPEAKS_S + stall_s:
            sent_at = SPEAKS_S + stall_s
        taken_at = max(sent_at, done_at[-room] if index >= room else 0.0)
        done_at.append(max(taken_at, done_at[-1]) + step_s)
        when = told.when(index, taken_at)
        jobs.append(job(slot, taken_at, deadline=when.deadline, late_at=when.late_at))
        behind.append(when.behind)
    return jobs, behind


def live(slots: Sequence[int], seconds: float) -> list[Job]:
    """Blocks of clients that send by the clock, each at its own time."""
    jobs = []
    for slot in slots:
        told, phase = pacing(), np.random.default_rng(slot).uniform(0, BLOCK_S)
        told.begin(phase)
        for index in range(round(seconds / BLOCK_S)):
            at = phase + (index + 1) * BLOCK_S
            when = told.when(index, at)
            assert not when.behind
            assert when.late_at == pytest.approx(at + LATE_S)
            jobs.append(job(slot, at, deadline=when.deadline, late_at=when.late_at))
    return jobs


def run(jobs: list[Job], step_s: float, slots: Sequence[int]) -> list[Ran]:
    queue = JobQueue(1)
    for slot in slots:
        queue.open(slot)
    return simulate(queue, jobs, lambda _batch: step_s)


@pytest.mark.parametrize("stall_s", [1.0, 3.0, 8.0])
def test_a_stall_silences_nothing_on_an_idle_service(stall_s: float) -> None:
    # A step takes more than half of a block: two blocks at once are late by the plain rule.
    jobs, behind = stalled(1, stall_s, 0.6 * BLOCK_S)
    assert any(behind)
    assert not any(each.late for each in run(jobs, 0.6 * BLOCK_S, [1]))


def test_a_backlog_is_over_when_it_has_been_worked_off() -> None:
    told = pacing()
    told.begin(0.0)
    assert not told.when(0, 5.0).behind
    last = [told.when(index, 5.0) for index in range(1, 10)][-1]
    assert last.behind
    assert last.late_at == pytest.approx(5.0 + LATE_S + 9 * 0.9 * BLOCK_S)
    told.answered(5.1)
    after = told.when(10, 5.2)
    assert not after.behind
    assert after.late_at == pytest.approx(5.2 + LATE_S)


def test_eight_others_wait_no_longer_than_a_step_for_a_backlog() -> None:
    others, step_s = range(2, 10), 0.07 * BLOCK_S
    alone = run(live(others, 12), step_s, others)
    backlog, _ = stalled(1, 8.0, step_s)
    beside = run(live(others, 12) + backlog, step_s, [1, *others])
    assert not any(each.late for each in beside)

    def p99(ran: list[Ran]) -> float:
        waits = [
            each.ended_at - each.job.submitted_at for each in ran if each.job.slot_id in others
        ]
        return float(np.percentile(waits, 99))

    assert p99(beside) <= p99(alone) + step_s + 1e-9


def test_what_a_busy_machine_cannot_work_off_is_the_client_s_lateness() -> None:
    jobs, behind = stalled(1, 1.0, 1.2 * BLOCK_S)
    ran = run(jobs, 1.2 * BLOCK_S, [1])
    late = {id(each.job) for each in ran if each.late}
    assert any(
        of_backlog and id(each) in late for each, of_backlog in zip(jobs, behind, strict=True)
    )
    waits = [each.started_at - each.job.submitted_at for each in ran]
    assert max(waits) <= BUFFERED_S + LATE_S + 1.2 * BLOCK_S, "latency never grows without end"
