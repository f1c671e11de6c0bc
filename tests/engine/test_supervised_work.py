from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from loguru import logger

from fast_vc_service.engine.supervision import (
    Backoff,
    cancel_all,
    join_all,
    keep_running,
    supervise,
)
from waiting import spend_async


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}\n{exception}")
    yield lines
    logger.remove(sink)


def at_once() -> Backoff:
    return Backoff(first_s=0.0)


class Work:
    """Fails as told, then returns."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.runs = 0
        self.restarts: list[str] = []

    def now(self) -> None:
        self.runs += 1
        if self.failures:
            raise self.failures.pop(0)

    async def later(self) -> None:
        await spend_async(0)
        self.now()


FAILURES = [OSError("disk"), RuntimeError("fault"), SystemExit(3)]


def test_what_fails_is_logged_counted_and_started_again(log: list[str]) -> None:
    work = Work(*FAILURES, asyncio.CancelledError())
    asyncio.run(supervise("work", work.later, on_restart=work.restarts.append, backoff=at_once()))
    assert work.runs == 5
    assert work.restarts == ["work"] * 4
    for line, words in zip(
        log, ("OSError: disk", "RuntimeError", "SystemExit", "Cancelled"), strict=True
    ):
        assert line.startswith("work has failed")
        assert words in line
        assert "Traceback" in line


def test_a_thread_s_work_is_started_again_as_well(log: list[str]) -> None:
    work = Work(*FAILURES)
    keep_running("work", work.now, on_restart=work.restarts.append, backoff=at_once())
    assert work.runs == 4
    assert work.restarts == ["work"] * 3
    assert all("Traceback" in line for line in log)


def test_after_the_last_attempt_the_error_is_raised() -> None:
    work = Work(*FAILURES)
    with pytest.raises(RuntimeError, match="fault"):
        asyncio.run(supervise("work", work.later, attempts=2, backoff=at_once()))
    assert work.runs == 2
    ends = Work(SystemExit(3))
    with pytest.raises(RuntimeError, match="SystemExit"):
        asyncio.run(supervise("work", ends.later, attempts=1))


def test_an_error_that_another_attempt_does_not_help_is_raised_at_once() -> None:
    work = Work(LookupError("no such voice"))
    with pytest.raises(LookupError):
        asyncio.run(supervise("work", work.later, final=(LookupError,)))
    assert work.runs == 1


def test_cancelled_from_outside_the_work_ends(log: list[str]) -> None:
    async def script() -> None:
        begun = asyncio.Event()

        async def work() -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(supervise("work", work))
        await begun.wait()
        await cancel_all([task])
        assert task.cancelled()

    asyncio.run(script())
    assert log == []


def test_what_a_task_ends_with_when_it_is_cancelled_is_logged(log: list[str]) -> None:
    async def script() -> None:
        begun = asyncio.Event()

        async def work() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                raise OSError("disk")

        task = asyncio.create_task(work(), name="work")
        await begun.wait()
        await cancel_all([task])

    asyncio.run(script())
    assert len(log) == 1
    assert log[0].startswith("work has failed while it ended")
    assert "OSError: disk" in log[0]


def test_waits_double_up_to_a_limit_and_begin_anew_after_a_calm() -> None:
    now = 0.0
    backoff = Backoff(first_s=1.0, longest_s=5.0, calm_s=10.0, clock=lambda: now)
    assert [backoff.failed() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    now = 10.5
    assert backoff.failed() == 1.0


def test_threads_are_joined_with_one_limit_for_all() -> None:
    leave = threading.Event()

    def started(target: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        return thread

    hung = [started(leave.wait) for _ in range(3)]
    assert join_all([*hung, started(int)], 0.05) == hung
    leave.set()
    assert join_all(hung, 10.0) == []
