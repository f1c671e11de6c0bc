"""Clients shared among real processes, some of which die or hang."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from fast_vc_service.loadtest.client_report import ClientReport
from fast_vc_service.loadtest.processes import Begin, ClientProcesses, Event, Progress, Tell


@dataclass(frozen=True)
class Clients:
    """Tell when each client begins and where; one of them takes its process away or hangs.

    Attributes:
        dies: Number of the client that ends its process once all have begun.
        dies_early: The same before its process is prepared.
        hangs: Number of the client that never reports.
    """

    dies: int = 0
    dies_early: int = 0
    hangs: int = 0

    def run(self, numbers: Sequence[int], begin: Begin, tell: Tell) -> None:
        if self.dies_early in numbers:
            os._exit(3)
        schedule = begin()
        for number in numbers:
            if number == self.dies:
                os._exit(3)
            if number == self.hangs:
                threading.Event().wait()
            tell(Progress(number, 1.0))
            tell(ClientReport(number, output_at=[(schedule.begin_s(number), os.getpid())]))


def run(clients: Clients, count: int, workers: int) -> tuple[float, dict[int, ClientReport]]:
    with ClientProcesses(clients, count, workers, stagger_s=0.25) as running:
        start_s = running.start().start_s
        events: list[Event] = list(running.events())
        assert len(running.pids) == min(workers, count)
    return start_s, {event.number: event for event in events if isinstance(event, ClientReport)}


def test_all_processes_hold_to_one_schedule() -> None:
    before_s = time.monotonic()
    start_s, reports = run(Clients(), count=5, workers=2)
    assert before_s < start_s
    assert sorted(reports) == [1, 2, 3, 4, 5]
    begins = {number: report.output_at[0][0] for number, report in reports.items()}
    assert begins == {number: start_s + 0.25 * (number - 1) for number in begins}
    # Neighbours run in different processes.
    processes = {number: report.output_at[0][1] for number, report in reports.items()}
    assert processes[1] == processes[3] == processes[5] != processes[2] == processes[4]


def test_no_more_processes_than_clients() -> None:
    _, reports = run(Clients(), count=1, workers=4)
    assert list(reports) == [1]


@pytest.mark.parametrize("clients", [Clients(dies=2), Clients(dies_early=2)])
def test_clients_of_a_dead_process_have_failed_and_the_others_have_not(clients: Clients) -> None:
    _, reports = run(clients, count=4, workers=2)
    assert {number: report.success for number, report in reports.items()} == {
        1: True,
        2: False,
        3: True,
        4: False,
    }
    error = reports[2].error
    assert error is not None
    assert error["code"] == "WORKER_FAILED"
    assert "has ended" in reports[4].reason


def test_waiting_for_reports_has_an_end() -> None:
    with (  # noqa: PT012 (the context must see the error)
        pytest.raises(TimeoutError, match="1 clients"),
        ClientProcesses(Clients(hangs=2), 2, 2) as running,
    ):
        running.start()
        for _event in running.events(within_s=0.1):
            pass
