from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.compatibility.services import OPEN, STRICT, running
from tests.e2e.service import RunningService

SAID: list[str] = []


@pytest.fixture
def say() -> Callable[[str], None]:
    """Return what adds a line to the end of the report of this test run."""
    return SAID.append


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running(tmp_path_factory.mktemp("open"), **OPEN) as service:
        yield service


@pytest.fixture
def strict_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running(tmp_path_factory.mktemp("strict"), **STRICT) as service:
        yield service


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for line in SAID:
        terminalreporter.write_line(f"compatibility: {line}")
