from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fast_vc_service.engine.batching import Job, JobQueue

SILENCE = np.zeros(320, np.float32)


def job(channel: int, submitted_at: float = 0.0, due_at: float | None = None) -> Job:
    return Job(channel, SILENCE, submitted_at, due_at, None, None, lambda _result: None)


def test_live_work_goes_before_files_and_the_earliest_deadline_first() -> None:
    queue = JobQueue(max_batch=1)
    for item in (job(1, 0.0), job(2, 5.0, due_at=9.0), job(3, 6.0, due_at=7.0)):
        queue.push(item)
    order = []
    while batch := queue.take():
        order += [item.channel for item in batch]
        queue.finish(batch)
    assert order == [3, 2, 1]


def test_one_session_never_runs_twice_at_a_time() -> None:
    queue = JobQueue(max_batch=8)
    queue.push(job(1))
    queue.push(job(1))
    first = queue.take()
    assert len(first) == 1
    assert queue.take() == []
    queue.finish(first)
    assert len(queue.take()) == 1


def test_a_batch_is_never_larger_than_allowed() -> None:
    queue = JobQueue(max_batch=3)
    for channel in range(5):
        queue.push(job(channel))
    assert [len(queue.take()), len(queue.take()), len(queue.take())] == [3, 2, 0]


def test_cancelled_work_never_runs() -> None:
    queue = JobQueue(max_batch=8)
    queue.push(job(1))
    queue.push(job(2))
    queue.cancel(1)
    assert [item.channel for item in queue.take()] == [2]
    assert len(queue) == 0


@given(
    jobs=st.lists(st.tuples(st.integers(0, 5), st.none() | st.floats(0, 10)), max_size=60),
    max_batch=st.integers(1, 6),
)
def test_everything_runs_once_and_in_its_sessions_order(
    jobs: list[tuple[int, float | None]], max_batch: int
) -> None:
    queue = JobQueue(max_batch)
    pushed = [job(channel, float(at), due) for at, (channel, due) in enumerate(jobs)]
    for item in pushed:
        queue.push(item)
    ran: list[Job] = []
    while batch := queue.take():
        assert len({item.channel for item in batch}) == len(batch) <= max_batch
        ran += batch
        queue.finish(batch)
    assert len(ran) == len(pushed)
    for channel in {item.channel for item in pushed}:
        times = [item.submitted_at for item in ran if item.channel == channel]
        assert times == sorted(times)
