"""The model threads of one scheduler: started, watched, and replaced when they are given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from loguru import logger

from fast_vc_service.engine.model_thread import Measured, ModelThread
from fast_vc_service.engine.supervision import Backoff, OnRestart, join_all

MODEL_TASK = "model"
"""What the count of restarts calls a model thread."""

AT_ONCE_AGAIN = 2
"""Model threads that may be replaced without a wait; after that the wait doubles each time."""


class ModelThreads:
    """A fixed number of threads that do the same work.

    Args:
        count: How many.
        work: What each does; given its thread.
        on_restart: Told of every thread that is replaced.
        hangs_for_good: Whether a call that hangs keeps its device, so that no other thread helps.

    Attributes:
        measured: What calls of the converter are judged by; until it is set none has hung.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[ModelThread], None],
        on_restart: OnRestart,
        *,
        hangs_for_good: bool = False,
    ) -> None:
        self.measured: Measured | None = None
        self._work = work
        self._on_restart = on_restart
        self._hangs_for_good = hangs_for_good
        self._backoff = Backoff(first_s=0.5, longest_s=30.0)
        self._threads = [ModelThread(f"model-{index}", work) for index in range(count)]

    def start(self) -> None:
        """Start the threads; those that run already do so."""
        for thread in self._threads:
            if thread.ident is None:
                thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the threads, ``seconds`` at most; tell whether all have ended."""
        left = join_all(list(self._threads), seconds)
        if left:
            logger.warning("{} model threads did not end within {:g} s", len(left), seconds)
        return not left

    def ailing(self, elapsed_s: float) -> Iterator[tuple[ModelThread, str, bool]]:
        """Yield each thread that has died or hung, which of these, and whether for good.

        Args:
            elapsed_s: Seconds since the last look, at most; see :meth:`ModelThread.in_call_s`.
        """
        for thread in list(self._threads):
            if thread.ident is None:
                continue
            if not thread.is_alive():
                yield thread, "has ended", False
                continue
            in_call_s = thread.in_call_s(elapsed_s)
            if self.measured and in_call_s > self.measured.longest_call_s(len(thread.members)):
                why = f"has been in one call for {in_call_s:.1f} s"
                yield thread, why, self._hangs_for_good

    def replace(self, thread: ModelThread) -> bool:
        """Start another thread in place of ``thread``; False when there can be none."""
        if thread.proving:
            logger.critical("{} could not make a step of silence; no other is tried", thread.name)
            return False
        wait_s = self._backoff.failed()
        at_once = self._backoff.failures <= AT_ONCE_AGAIN
        another = ModelThread(
            thread.name, self._work, wait_s=0.0 if at_once else wait_s, proves_itself=True
        )
        try:
            another.start()
        except RuntimeError:
            logger.opt(exception=True).critical("no other model thread can be started")
            return False
        self._threads[self._threads.index(thread)] = another
        self._on_restart(MODEL_TASK)
        return True
