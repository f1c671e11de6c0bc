"""A few worker processes: started when there is work, replaced when they fail, ended when idle."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

from fast_vc_service.process.worker.work import (
    Failure,
    Result,
    Work,
    WorkFailedError,
    WorkStoppedError,
)
from fast_vc_service.process.worker.worker import Worker

IDLE_S = 60.0
"""How long a worker waits for more work before it ends: it holds as much as one process does."""

CLOSE_S = 2.0
"""How long the end of all workers may take."""

OnFailure = Callable[[str], None]
"""Told the :class:`Failure` of each worker that is replaced; thread-safe, never raises."""


def never() -> bool:
    """Say that a result is always wanted."""
    return False


@dataclass(order=True)
class _Order:
    """A piece of work that waits; the smallest is the next."""

    rank: tuple[int, int]
    work: Work[Any] | None = field(compare=False)
    future: Future[Any] = field(compare=False)
    stopped: Callable[[], bool] = field(compare=False)


class WorkerPool:
    """Does work in processes of its own; safe to use from many threads.

    Args:
        name: What the log calls its workers.
        workers: How many pieces of work are done at a time.
        idle_s: How long a worker without work is kept.
        on_failure: Told of each worker that fails.
    """

    def __init__(
        self,
        name: str,
        *,
        workers: int = 1,
        idle_s: float = IDLE_S,
        on_failure: OnFailure = lambda _failure: None,
    ) -> None:
        self._name = name
        self._idle_s = idle_s
        self._on_failure = on_failure
        self._waiting: queue.PriorityQueue[_Order] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._running: set[Worker] = set()
        # Daemons: nothing that a stranger sent keeps the process from its end.
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-worker", daemon=True)
            for _ in range(workers)
        ]

    @property
    def pids(self) -> list[int]:
        """Numbers of the processes that run."""
        with self._lock:
            return [worker.pid for worker in self._running]

    def submit(self, work: Work[Result], stopped: Callable[[], bool] = never) -> Future[Result]:
        """Have ``work`` done when its turn comes; return its future.

        Args:
            work: What to do.
            stopped: Asked while it is done: whether nobody wants the result any more.

        Returns:
            Brings the result, what the work raised, a :class:`WorkFailedError` or a
            :class:`WorkStoppedError`. Cancelled while it waits, it is not begun.
        """
        future: Future[Result] = Future()
        with self._lock:
            if self._closed.is_set():
                future.set_exception(_closing())
                return future
            for thread in self._threads:
                if thread.ident is None:
                    thread.start()
            self._waiting.put(
                _Order((int(not work.urgent), next(self._numbers)), work, future, stopped)
            )
        return future

    def close(self) -> None:
        """End all workers; what they do, and what waits, fails. Does no harm twice."""
        with self._lock:
            self._closed.set()
            for _ in self._threads:
                self._waiting.put(_Order((-1, 0), None, Future(), never))
            started = [thread for thread in self._threads if thread.ident is not None]
        for thread in started:
            thread.join(CLOSE_S)
        while not self._waiting.empty():
            left = self._waiting.get_nowait()
            if left.work is not None and left.future.set_running_or_notify_cancel():
                left.future.set_exception(_closing())

    def _serve(self) -> None:
        worker: Worker | None = None
        while True:
            try:
                order = self._waiting.get(timeout=self._idle_s if worker else None)
            except queue.Empty:
                self._without(worker)
                worker = None
                continue
            if order.work is None:
                self._without(worker)
                return
            if order.future.set_running_or_notify_cancel():
                worker = self._do(order, order.work, worker)

    def _do(self, order: _Order, work: Work[Any], worker: Worker | None) -> Worker | None:
        """Do one piece of work; return the worker, or None when it is of no more use."""
        try:
            if worker is None or not worker.alive:
                self._without(worker)
                worker = self._started()
            result = worker.do(work, lambda: order.stopped() or self._closed.is_set())
        except (WorkFailedError, WorkStoppedError) as error:
            self._without(worker)
            if isinstance(error, WorkFailedError):
                logger.warning(
                    "{}: no result, the {} worker is replaced: {}", work.what, self._name, error
                )
                self._on_failure(error.failure)
            wanted = not order.stopped()
            order.future.set_exception(_closing() if wanted and self._closed.is_set() else error)
            return None
        except BaseException as error:
            order.future.set_exception(error)
            return worker
        order.future.set_result(result)
        return worker

    def _started(self) -> Worker:
        try:
            worker = Worker()
        except OSError as error:
            raise WorkFailedError(Failure.UNAVAILABLE, f"cannot be started: {error}") from error
        with self._lock:
            self._running.add(worker)
        return worker

    def _without(self, worker: Worker | None) -> None:
        if worker is not None:
            worker.kill()
            with self._lock:
                self._running.discard(worker)


def _closing() -> WorkFailedError:
    return WorkFailedError(Failure.UNAVAILABLE, "the service is stopping")
