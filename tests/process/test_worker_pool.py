"""Worker processes: whatever the work does, it costs that work alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import worker_jobs
from loguru import logger

from fast_vc_service.process.worker.pool import WorkerPool
from fast_vc_service.process.worker.work import (
    Failure,
    Work,
    WorkFailedError,
    WorkStoppedError,
)
from waiting import PATIENCE_S, until

MIB = 1 << 20


@pytest.fixture(scope="module")
def failures() -> list[str]:
    return []


@pytest.fixture(scope="module")
def pool(failures: list[str]) -> Iterator[WorkerPool]:
    made = WorkerPool("test", on_failure=failures.append)
    yield made
    made.close()
    assert made.pids == []


def work(run: Callable[[], Any], **limits: Any) -> Work[Any]:
    return Work("a test", run, **limits)


def done(pool: WorkerPool, run: Callable[[], Any], **limits: Any) -> Any:
    return pool.submit(work(run, **limits)).result(PATIENCE_S)


@pytest.mark.parametrize(
    ("run", "limits", "failure", "told"),
    [
        (worker_jobs.crash, {}, Failure.CRASHED, "SIGABRT"),
        (worker_jobs.touch_nothing, {}, Failure.CRASHED, "SIGSEGV"),
        (partial(worker_jobs.end, 3), {}, Failure.CRASHED, "status 3"),
        (worker_jobs.loop, {"cpu_s": 0.01}, Failure.TOO_LONG, "processor time"),
        pytest.param(
            worker_jobs.eat,
            {"memory_bytes": 64 * MIB},
            Failure.TOO_MUCH_MEMORY,
            "64 MiB",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="no such limit"),
        ),
        (
            worker_jobs.refuse,
            {"load": worker_jobs.crash},
            Failure.UNAVAILABLE,
            "cannot begin: the process has crashed",
        ),
    ],
)
def test_a_failure_costs_one_piece_of_work(
    pool: WorkerPool,
    failures: list[str],
    run: Callable[[], Any],
    limits: dict[str, Any],
    failure: Failure,
    told: str,
) -> None:
    lines: list[str] = []
    failures.clear()
    sink = logger.add(lambda line: lines.append(str(line)), format="{message}")
    failing = pool.submit(work(run, **limits))
    next_one = pool.submit(work(partial(worker_jobs.add, 1, 2)))
    with pytest.raises(WorkFailedError, match=told) as caught:
        failing.result(PATIENCE_S)
    assert caught.value.failure == failure
    assert next_one.result(PATIENCE_S) == 3
    logger.remove(sink)
    assert failures == [failure]
    assert len(lines) == 1
    assert lines[0].startswith("a test: no result, the test worker is replaced:")


def test_errors_come_back_with_their_kind_and_the_worker_stays(pool: WorkerPool) -> None:
    first = done(pool, os.getpid)
    with pytest.raises(ValueError, match="that is no audio") as caught:
        done(pool, worker_jobs.refuse)
    assert "worker_jobs.py" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="refuse_oddly"):
        done(pool, worker_jobs.refuse_oddly)
    assert done(pool, os.getpid) == first


def test_a_worker_yields_and_knows_no_secrets(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAST_VC_API_KEYS", "[]")
    with pytest.raises(WorkFailedError):  # so that the next worker starts with that environment
        done(pool, worker_jobs.crash)
    found = done(pool, worker_jobs.circumstances)
    assert found.pop("pid") != os.getpid()
    assert found.pop("niceness") >= min(19, os.nice(0) + 10)
    assert found == {"gpus": "", "secrets": [], "ctrl_c": True, "group": True}


def test_signals_that_end_the_service_leave_workers_alone(pool: WorkerPool) -> None:
    pid = done(pool, os.getpid)
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, ending)
    assert done(pool, os.getpid) == pid


def test_what_is_urgent_goes_first_and_what_is_cancelled_is_not_begun(
    pool: WorkerPool, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    first = pool.submit(work(partial(worker_jobs.wait_for, go, begun)))
    until(begun.exists)
    order: list[str] = []
    for name in ("later", "cancelled", "urgent"):
        made = pool.submit(work(partial(worker_jobs.add, 1, 1), urgent=name == "urgent"))
        made.add_done_callback(lambda _future, name=name: order.append(name))
        if name == "cancelled":
            cancelled = made
    assert cancelled.cancel()
    go.touch()
    first.result(PATIENCE_S)
    until(lambda: len(order) == 3)
    assert order == ["cancelled", "urgent", "later"]
    with pytest.raises(CancelledError):
        cancelled.result()


def test_work_that_nobody_wants_any_more_is_ended(pool: WorkerPool, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    running = pool.submit(
        work(partial(worker_jobs.wait_for, tmp_path / "never", begun)), stopped=begun.exists
    )
    with pytest.raises(WorkStoppedError):
        running.result(PATIENCE_S)
    assert done(pool, partial(worker_jobs.add, 2, 2)) == 4


def test_an_idle_worker_ends_and_another_comes(tmp_path: Path) -> None:
    pool = WorkerPool("idle", idle_s=0.01)
    first = done(pool, os.getpid)
    until(lambda: pool.pids == [])
    assert not psutil.pid_exists(first)
    assert done(pool, os.getpid) != first
    pool.close()


def test_closing_ends_what_runs_and_what_waits(tmp_path: Path) -> None:
    pool = WorkerPool("closing")
    begun = tmp_path / "begun"
    running = pool.submit(work(partial(worker_jobs.wait_for, tmp_path / "never", begun)))
    waiting = pool.submit(work(worker_jobs.refuse))
    until(begun.exists)
    pool.close()
    pool.close()
    for future in (running, waiting, pool.submit(work(worker_jobs.refuse))):
        with pytest.raises(WorkFailedError, match="stopping"):
            future.result(PATIENCE_S)
    assert pool.pids == []


def test_a_worker_ends_with_its_parent_even_in_the_middle_of_work(tmp_path: Path) -> None:
    begun, never = tmp_path / "begun", tmp_path / "never"
    script = (
        "import sys; from functools import partial; from pathlib import Path; import worker_jobs\n"
        "from fast_vc_service.process.worker.pool import WorkerPool\n"
        "from fast_vc_service.process.worker.work import Work\n"
        "waits = partial(worker_jobs.wait_for, *map(Path, sys.argv[1:]))\n"
        "WorkerPool('orphan').submit(Work('a test', waits)).result()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(never), str(begun)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as parent:
        until(begun.exists)
        worker = psutil.Process(int(begun.read_text()))
        parent.kill()
        parent.wait()
    # Where nobody takes care of orphans they stay as zombies.
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
