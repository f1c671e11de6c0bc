from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from service import RunningService, launch


@pytest.fixture(scope="session")
def passthrough(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose answers are the input: for the protocol, not for voices."""
    service = launch(
        tmp_path_factory.mktemp("passthrough"),
        "--engine",
        "passthrough",
        max_sessions=8,
        late_ms=20_000,
    )
    service.wait_until("ready")
    yield service
    service.stop()


@pytest.fixture(scope="session")
def default_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """The service as it starts by default."""
    service = launch(tmp_path_factory.mktemp("default"), max_sessions=8, late_ms=20_000)
    service.wait_until("ready")
    yield service
    service.stop()


@pytest.fixture
def launch_service(tmp_path: Path) -> Iterator[Callable[..., RunningService]]:
    """Start services of one's own; whatever still runs is killed at the end."""
    started: list[RunningService] = []

    def start(*flags: str, **settings: object) -> RunningService:
        service = launch(tmp_path, "--engine", "passthrough", *flags, **settings)
        started.append(service)
        return service

    yield start
    for service in started:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()
