"""Processes that share the clients of a load, so that the clients do not delay each other."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue
from types import TracebackType
from typing import Protocol, Self

from fast_vc_service.loadtest.client_report import WORKER_FAILED, ClientReport, failed
from fast_vc_service.loadtest.schedule import Schedule

START_DELAY_S = 0.1
"""Between the moment everybody is there and the first client's beginning."""

_START_TIMEOUT_S = 120.0
_POLL_S = 0.5
_GOODBYE_S = 5.0


@dataclass(frozen=True)
class Progress:
    """So many seconds of audio have been sent by client ``number``; it waits for room or not."""

    number: int
    sent_s: float
    waiting: bool = False


Event = Progress | ClientReport
Tell = Callable[[Event], None]
Begin = Callable[[], Schedule]


class Clients(Protocol):
    """What a process of a load does; it is pickled to get there."""

    def run(self, numbers: Sequence[int], begin: Begin, tell: Tell) -> None:
        """Run the clients ``numbers`` and tell a report of each.

        Args:
            numbers: Which of all clients, from 1.
            begin: To be called once everything is prepared; blocks until every process is, and
                returns when the clients begin.
            tell: Takes progress and reports.
        """
        ...


class ClientProcesses:
    """The processes of one load, for as long as the context lasts.

    To be used from a program that can be imported without running
    (``if __name__ == "__main__"``), since its processes are spawned.

    Args:
        clients: What each process does.
        count: How many clients.
        workers: How many processes share them.
        stagger_s: Seconds between the beginnings of two clients.
    """

    def __init__(
        self, clients: Clients, count: int, workers: int, *, stagger_s: float = 0.0
    ) -> None:
        context = multiprocessing.get_context("spawn")
        workers = min(workers, count)
        self._stagger_s = stagger_s
        self._told: Queue[Event | None] = context.Queue()
        self._begin: Queue[Schedule] = context.Queue()
        self._shares = [range(first, count + 1, workers) for first in range(1, workers + 1)]
        self._processes = [
            context.Process(
                target=_work, args=(clients, share, self._told, self._begin), daemon=True
            )
            for share in self._shares
        ]
        self._early: list[Event] = []
        self._missing = set(range(1, count + 1))

    @property
    def pids(self) -> list[int]:
        """The processes' ids."""
        return [process.pid for process in self._processes if process.pid is not None]

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            if kind is None:
                process.join(_GOODBYE_S)
            if process.is_alive():
                process.terminate()
                process.join()

    def start(self) -> Schedule:
        """Wait until every process is prepared (or has ended), and let the clients begin."""
        there = 0
        while there + len(self._gone()) < len(self._processes):
            try:
                item = self._told.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if item is None:
                there += 1
            else:
                self._early.append(item)
        schedule = Schedule(time.monotonic() + START_DELAY_S, self._stagger_s)
        for _process in self._processes:
            self._begin.put(schedule)
        return schedule

    def events(self, *, within_s: float | None = None) -> Iterator[Event]:
        """Yield progress and one report a client, until every client has reported.

        No client's failure raises; of one whose process has ended the report says so.

        Args:
            within_s: How long to wait at most; None waits for ever.

        Raises:
            TimeoutError: Some clients have not reported by then.
        """
        until_s = None if within_s is None else time.monotonic() + within_s
        for event in self._early:
            yield self._noted(event)
        gone: list[int] = []
        while self._missing:
            try:
                item = self._told.get(timeout=_POLL_S)
            except queue.Empty:
                # What a process told before its end has arrived by now, one silence later.
                for number in [number for worker in gone for number in self._shares[worker]]:
                    if number in self._missing:
                        reason = "the process this client ran in has ended"
                        yield self._noted(failed(number, WORKER_FAILED, reason))
                gone = self._gone()
                if until_s is not None and time.monotonic() > until_s:
                    raise TimeoutError(
                        f"expected reports within {within_s:g} s, got none of "
                        f"{len(self._missing)} clients"
                    ) from None
            else:
                if item is not None:
                    yield self._noted(item)

    def _gone(self) -> list[int]:
        return [i for i, process in enumerate(self._processes) if process.exitcode is not None]

    def _noted(self, event: Event) -> Event:
        if isinstance(event, ClientReport):
            self._missing.discard(event.number)
        return event


def _work(
    clients: Clients,
    numbers: Sequence[int],
    told: Queue[Event | None],
    schedules: Queue[Schedule],
) -> None:
    """Run the clients of one process; the parent alone listens to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def begin() -> Schedule:
        told.put(None)
        return schedules.get(timeout=_START_TIMEOUT_S)

    clients.run(numbers, begin, told.put)
