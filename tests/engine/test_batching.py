from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation import job, simulate

from fast_vc_service.engine.batching import AT_ONCE, FILE_PATIENCE_S, Batch, Job, JobQueue

TINY = 1e-9


def queue_of(sessions: int, max_batch: int, *, gather_s: float = 0.0, workers: int = 1) -> JobQueue:
    queue = JobQueue(max_batch, gather_s=gather_s, workers=workers)
    for slot_id in range(sessions):
        queue.open(slot_id)
    return queue


def stream(
    slot_id: int, blocks: int, block_s: float, *, phase_s: float = 0.0, late_s: float | None = None
) -> list[Job]:
    """The jobs of a live session: block after block, each wanted within another block."""
    times = [phase_s + index * block_s for index in range(blocks)]
    return [
        job(
            slot_id,
            at,
            deadline=at + block_s,
            late_at=None if late_s is None else at + late_s,
        )
        for at in times
    ]


def test_live_work_goes_before_files_and_the_earliest_deadline_first() -> None:
    queue = queue_of(4, max_batch=1)
    for item in (job(1, 0.0), job(2, 1.0, deadline=9.0), job(3, 1.5, deadline=7.0)):
        queue.push(item)
    ran = simulate(queue, [], lambda _batch: 0.1)
    assert [each.job.slot_id for each in ran] == [3, 2, 1]


def test_files_share_no_step_with_live_sessions_nor_with_each_other_beside_them() -> None:
    queue = queue_of(5, max_batch=8)
    for item in (job(0), job(1), job(2), job(3, deadline=9.0), job(4, deadline=8.0)):
        queue.push(item)
    batches = []
    while batch := queue.take(0.0):
        batches.append([each.slot_id for each in batch.jobs])
        queue.finish(batch)
    assert batches == [[4, 3], [0], [1], [2]]
    queue.push(job(0, 1.0))
    queue.push(job(3, 2.0, deadline=9.0))
    # Who has waited long enough is no longer kept apart.
    assert {each.slot_id for each in queue.take(1.0 + FILE_PATIENCE_S).jobs} == {0, 3}


def test_one_session_never_runs_twice_at_a_time() -> None:
    queue = queue_of(1, max_batch=8, workers=2)
    queue.push(job(0))
    queue.push(job(0))
    first = queue.take(0.0)
    assert len(first.jobs) == 1
    assert queue.leave_at() == math.inf
    queue.finish(first)
    assert len(queue.take(0.0).jobs) == 1


def test_a_batch_is_never_larger_than_allowed() -> None:
    queue = queue_of(5, max_batch=3)
    for slot_id in range(5):
        queue.push(job(slot_id))
    assert [len(queue.take(0.0).jobs) for _ in range(3)] == [3, 2, 0]


def test_workers_share_what_is_ready() -> None:
    queue = queue_of(5, max_batch=8, workers=2)
    for slot_id in range(5):
        queue.push(job(slot_id))
    assert [len(queue.take(0.0).jobs) for _ in range(3)] == [3, 2, 0]


def test_a_batch_leaves_at_once_when_everybody_is_in_it() -> None:
    queue = queue_of(3, max_batch=8, gather_s=1.0)
    queue.push(job(0, 5.0))
    queue.push(job(1, 5.5))
    assert queue.leave_at() == 6.0
    queue.push(job(2, 5.6))
    assert queue.leave_at() == AT_ONCE


def test_who_is_gone_or_runs_elsewhere_is_not_waited_for() -> None:
    queue = queue_of(3, max_batch=8, gather_s=1.0, workers=2)
    queue.push(job(0, 0.0))
    running = queue.take(1.0)
    queue.push(job(1, 1.5))
    assert queue.leave_at() == 2.5
    queue.close(2)
    assert queue.leave_at() == AT_ONCE
    queue.finish(running)
    assert queue.leave_at() == 2.5


def test_a_full_batch_waits_for_nobody() -> None:
    queue = queue_of(9, max_batch=2, gather_s=1.0)
    queue.push(job(0))
    assert queue.leave_at() == 1.0
    queue.push(job(1))
    assert queue.leave_at() == AT_ONCE


def test_an_early_deadline_cuts_the_wait_short() -> None:
    queue = queue_of(9, max_batch=8, gather_s=1.0)
    queue.step_s = 0.3
    queue.push(job(0, 0.0))
    assert queue.leave_at() == 1.0
    queue.push(job(1, 0.1, deadline=0.5))
    assert queue.leave_at() == pytest.approx(0.2)


def test_late_blocks_are_skipped_all_at_once_and_the_next_one_is_converted() -> None:
    queue = queue_of(1, max_batch=8)
    for at in range(5):
        queue.push(job(0, float(at), deadline=at + 1.0, late_at=at + 2.0))
    batch = queue.take(5.5)
    assert [each.submitted_at for each in batch.late] == [0.0, 1.0, 2.0, 3.0]
    assert [each.submitted_at for each in batch.jobs] == [4.0]


def test_cancelled_work_never_runs() -> None:
    queue = queue_of(3, max_batch=8)
    queue.push(job(1))
    queue.push(job(2))
    queue.close(1)
    queue.push(job(1))
    assert [item.slot_id for item in queue.take(0.0).jobs] == [2]
    assert len(queue) == 0


def test_a_session_that_closes_while_it_runs_is_forgotten() -> None:
    queue = queue_of(2, max_batch=8)
    queue.push(job(0))
    queue.push(job(0))
    batch = queue.take(0.0)
    queue.close(0)
    queue.finish(batch)
    assert queue.leave_at() == math.inf
    assert len(queue) == 0
    queue.push(job(1))
    assert queue.leave_at() == AT_ONCE


# --------------------------------------------------------------------------- properties

mixes = st.lists(
    st.tuples(st.integers(0, 5), st.floats(0, 3), st.booleans(), st.none() | st.floats(0, 1)),
    max_size=40,
)


@given(
    mix=mixes,
    max_batch=st.integers(1, 6),
    workers=st.integers(1, 3),
    gather_s=st.floats(0, 0.5),
    closing=st.lists(st.tuples(st.floats(0, 3), st.integers(0, 5)), max_size=3),
)
def test_everything_runs_once_in_its_sessions_order_and_never_twice_at_a_time(
    mix: list[tuple[int, float, bool, float | None]],
    max_batch: int,
    workers: int,
    gather_s: float,
    closing: list[tuple[float, int]],
) -> None:
    queue = queue_of(6, max_batch, gather_s=gather_s, workers=workers)
    jobs = [
        job(
            slot_id,
            at,
            deadline=at + 0.2 if live else None,
            late_at=at + late_s if live and late_s is not None else None,
        )
        for slot_id, at, live, late_s in mix
    ]
    ran = simulate(queue, jobs, lambda batch: 0.05 * batch, workers=workers, closing=closing)
    assert len(queue) == 0
    assert len({id(each.job) for each in ran}) == len(ran)
    closed = {slot_id for _, slot_id in closing}
    done = {id(each.job) for each in ran}
    assert all(id(each) in done for each in jobs if each.slot_id not in closed)
    of_session = defaultdict(list)
    for each in ran:
        of_session[each.job.slot_id].append(each)
    for slot_id, rans in of_session.items():
        submitted = [each.job.submitted_at for each in rans]
        assert submitted == sorted(submitted)
        steps = sorted({(each.started_at, each.ended_at) for each in rans})
        assert all(ends <= starts for (_, ends), (starts, _) in itertools.pairwise(steps))
        gone_at = min((at for at, who in closing if who == slot_id), default=math.inf)
        assert all(each.started_at <= gone_at for each in rans)
    sizes = Counter((each.started_at, each.ended_at) for each in ran if not each.late)
    assert all(size <= max_batch * workers for size in sizes.values())


@given(
    deadlines=st.lists(st.floats(0.1, 3.0), min_size=1, max_size=30),
    max_batch=st.integers(1, 5),
    step_s=st.floats(0.01, 0.5),
)
def test_deadlines_are_met_whenever_any_order_meets_them(
    deadlines: list[float], max_batch: int, step_s: float
) -> None:
    """With all work there at once the earliest deadline first is optimal (Jackson's rule)."""
    needed = [(index // max_batch + 1) * step_s for index in range(len(deadlines))]
    feasible = all(end <= due + TINY for end, due in zip(needed, sorted(deadlines), strict=True))
    queue = queue_of(len(deadlines), max_batch)
    jobs = [job(slot_id, 0.0, deadline=due) for slot_id, due in enumerate(deadlines)]
    ran = simulate(queue, jobs, lambda _batch: step_s)
    met = all(
        each.job.deadline is not None and each.ended_at <= each.job.deadline + 1e-6 for each in ran
    )
    assert met or not feasible


@given(
    phases=st.lists(st.floats(0, 1), min_size=1, max_size=8),
    step_share=st.floats(0.05, 0.45),
    gather_share=st.floats(0, 0.1),
    workers=st.integers(1, 2),
)
def test_sessions_that_fit_wait_for_no_more_than_one_gathering_and_one_step(
    phases: list[float], step_share: float, gather_share: float, workers: int
) -> None:
    """Up to a batch of them, at any phases: the step before or the gathering, then their own."""
    queue = queue_of(len(phases), 8, gather_s=gather_share, workers=workers)
    queue.step_s = step_share
    jobs = [
        each
        for slot_id, phase in enumerate(phases)
        for each in stream(slot_id, 12, 1.0, phase_s=phase, late_s=2.0)
    ]
    ran = simulate(queue, jobs, lambda _batch: step_share, workers=workers)
    assert len(ran) == len(jobs)
    limit = max(gather_share, step_share) + step_share
    for each in ran:
        assert not each.late
        assert each.ended_at - each.job.submitted_at <= limit + TINY
        assert each.job.deadline is not None
        assert each.ended_at <= each.job.deadline


@given(
    phases=st.lists(st.floats(0, 1), min_size=2, max_size=12),
    capacity=st.integers(1, 4),
    late_blocks=st.floats(1.0, 3.0),
)
def test_overload_is_shared_and_queues_stay_short(
    phases: list[float], capacity: int, late_blocks: float
) -> None:
    """Any number of sessions of equal rights on a machine that converts ``capacity`` a block."""
    blocks, block_s = 40, 0.1
    step_s, late_s = block_s / capacity, block_s * late_blocks
    queue = queue_of(len(phases), 1)
    longest = 0

    def watch(queue: JobQueue, _batch: Batch, _now: float) -> None:
        nonlocal longest
        longest = max(longest, len(queue))

    jobs = [
        each
        for slot_id, phase in enumerate(phases)
        for each in stream(slot_id, blocks, block_s, phase_s=block_s * phase, late_s=late_s)
    ]
    ran = simulate(queue, jobs, lambda _batch: step_s, watch=watch)
    assert len(ran) == len(jobs)
    converted = Counter(each.job.slot_id for each in ran if not each.late)
    counts = [converted[slot_id] for slot_id in range(len(phases))]
    assert max(counts) - min(counts) <= 4
    assert longest <= len(phases) * (math.ceil((late_s + step_s) / block_s) + 1)
    # What is converted at all is not late by more than the policy and one step.
    assert all(
        each.ended_at <= each.job.submitted_at + late_s + step_s + TINY
        for each in ran
        if not each.late
    )


@given(
    phases=st.lists(st.floats(0, 1), min_size=1, max_size=6),
    files=st.integers(1, 3),
)
def test_files_give_way_to_live_sessions_but_are_not_forgotten(
    phases: list[float], files: int
) -> None:
    """More live work than the machine can do, and files beside it."""
    live = len(phases)
    queue = queue_of(live + files, 1)
    blocks = 60
    jobs = [
        each
        for slot_id, phase in enumerate(phases)
        for each in stream(slot_id, blocks, 1.0, phase_s=phase, late_s=2.0)
    ]
    jobs += [job(live + index, 0.0) for index in range(files)]

    def watch(queue: JobQueue, batch: Batch, now: float) -> None:
        for each in batch.jobs:
            young = each.deadline is None and now < each.submitted_at + FILE_PATIENCE_S
            assert not (young and any_live_ready(queue))

    def any_live_ready(queue: JobQueue) -> bool:
        return any(slot_id < live for slot_id in queue.ready)

    ran = simulate(queue, jobs, lambda _batch: 1.0, watch=watch)
    waited = [each.started_at for each in ran if each.job.deadline is None]
    assert len(waited) == files
    # Patience, then the live sessions that have lost as much, then one another.
    assert max(waited) <= FILE_PATIENCE_S + 4.0 * (live + files) + 1.0
