from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fast_vc_service.app import TOLD_TO_MANAGER, feed_watchdog
from fast_vc_service.process.systemd import ServiceManager
from waiting import spend_async


@dataclass
class Manager:
    """systemd's end."""

    end: socket.socket
    environment: dict[str, str]

    def heard(self) -> list[str]:
        told = []
        while True:
            try:
                told.append(self.end.recv(4096).decode())
            except BlockingIOError:
                return told


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "s") if request.param == "file" else f"@fast-vc-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        end.setblocking(False)
        yield Manager(end, {"NOTIFY_SOCKET": name})


def test_states_are_told(manager: Manager) -> None:
    told = ServiceManager(manager.environment)
    for state in ("ready", "draining"):
        told.tell(TOLD_TO_MANAGER[state])
    assert manager.heard() == ["READY=1\nSTATUS=ready", "STOPPING=1\nSTATUS=draining"]
    assert told.watchdog_s == 0


@pytest.mark.parametrize("address", ["", "/nowhere/at/all"])
def test_where_nobody_listens_nothing_is_stopped(address: str) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "nonsense"})
    manager.tell("READY=1")
    assert manager.watchdog_s == 0


def test_the_watchdog_of_another_process_is_not_fed(manager: Manager) -> None:
    meant = {**manager.environment, "WATCHDOG_USEC": "2000000"}
    assert ServiceManager({**meant, "WATCHDOG_PID": "1"}).watchdog_s == 0
    assert ServiceManager({**meant, "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 2


@dataclass
class Working:
    """A service whose model threads can fail."""

    engine: Any = field(default_factory=lambda: SimpleNamespace(failed=False))


def test_the_watchdog_is_fed_while_the_model_threads_work(manager: Manager) -> None:
    told = ServiceManager({**manager.environment, "WATCHDOG_USEC": "4000"})
    service: Any = Working()

    async def feed() -> None:
        feeding = asyncio.create_task(feed_watchdog(service, told))
        heard: list[str] = []
        while len(heard) < 3:
            await spend_async(0)
            heard += manager.heard()
        assert set(heard) == {"WATCHDOG=1"}
        service.engine.failed = True
        await spend_async(0)
        manager.heard()
        for _ in range(20):
            await spend_async(told.watchdog_s / 4)
        assert manager.heard() == []
        feeding.cancel()

    asyncio.run(feed())
