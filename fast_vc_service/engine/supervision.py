"""Work that must not die unnoticed: it is logged, counted, and started again with back-off.

Model threads have a supervision of their own (:mod:`.scheduler`), since what they hold when they
fail belongs to sessions.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from loguru import logger

OnRestart = Callable[[str], None]
"""Told the name of the work that is started again; thread-safe, never raises."""

Clock = Callable[[], float]


def ignore_restart(_name: str) -> None:
    """Count nothing."""


@dataclass
class Backoff:
    """How long to wait before work that failed is started again: twice as long each time.

    Attributes:
        first_s: Wait after the first failure.
        longest_s: Longest wait.
        calm_s: Time without a failure after which the next one counts as the first.
        clock: Monotonic seconds.
        failures: Failures since the last calm.
    """

    first_s: float = 0.5
    longest_s: float = 60.0
    calm_s: float = 120.0
    clock: Clock = time.monotonic
    failures: int = 0
    _failed_at: float = field(default=float("-inf"))

    def failed(self) -> float:
        """Count a failure now; return the seconds to wait."""
        now = self.clock()
        if now - self._failed_at > self.calm_s:
            self.failures = 0
        self.failures += 1
        self._failed_at = now
        return min(self.longest_s, self.first_s * 2.0 ** min(self.failures - 1, 30))


async def supervise(
    name: str,
    work: Callable[[], Awaitable[None]],
    *,
    on_restart: OnRestart = ignore_restart,
    attempts: int | None = None,
    final: tuple[type[Exception], ...] = (),
    backoff: Backoff | None = None,
) -> None:
    """Await ``work()`` until it returns; each time that it raises, it is started again.

    Args:
        name: What the log and the metric call it.
        work: Makes the awaitable of one attempt.
        on_restart: Told of every new start.
        attempts: After so many failures the last one is raised; None means never.
        final: Kinds of errors that another attempt does not help; raised at once.
        backoff: How long to wait between attempts.

    Raises:
        Exception: See ``attempts`` and ``final``. A ``SystemExit`` of the work is raised as
            ``RuntimeError``, since an event loop would stop for it.
    """
    backoff = backoff or Backoff()
    failures = 0
    while True:
        try:
            await work()
            return
        except final:
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            # Cancelled from outside, the work ends; a cancellation that leaks out of it is a fault.
            if isinstance(error, asyncio.CancelledError) and _cancelled():
                raise
            failures += 1
            if attempts is not None and failures >= attempts:
                if isinstance(error, Exception):
                    raise
                raise RuntimeError(f"{name} has ended with {error!r}") from error
            wait_s = backoff.failed()
            logger.exception("{} has failed; it is started again in {:g} s", name, wait_s)
        on_restart(name)
        await asyncio.sleep(wait_s)


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def keep_running(
    name: str,
    work: Callable[[], None],
    *,
    on_restart: OnRestart = ignore_restart,
    backoff: Backoff | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Call ``work`` until it returns, in the calling thread; see :func:`supervise`."""
    backoff = backoff or Backoff()
    while True:
        try:
            work()
            return
        except BaseException:
            wait_s = backoff.failed()
            logger.exception("{} has failed; it is started again in {:g} s", name, wait_s)
        on_restart(name)
        wait(wait_s)


async def cancel_all(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their ends; what one ends with instead is logged."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.opt(exception=error).error("{} has failed while it ended", task.get_name())


def join_all(threads: Iterable[threading.Thread], seconds: float) -> list[threading.Thread]:
    """Wait for threads to end, ``seconds`` in all; return those that have not."""
    until = time.monotonic() + seconds
    threads = [thread for thread in threads if thread is not threading.current_thread()]
    for thread in threads:
        if thread.is_alive():
            thread.join(max(0.0, until - time.monotonic()))
    return [thread for thread in threads if thread.is_alive()]
