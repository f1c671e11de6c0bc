"""Routes, answers, documents, metrics and files of the page are as they were recorded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compatibility import http_surface
from tests.compatibility.comparison import differences
from tests.compatibility.recordings import load
from tests.e2e.service import RunningService


@pytest.fixture(scope="module")
def present(open_service: RunningService) -> dict[str, Any]:
    return http_surface.of_open_service(open_service)


@pytest.mark.parametrize("part", ["answers", "page", "openapi", "asyncapi", "metrics"])
def test_a_service_without_keys(present: dict[str, Any], part: str) -> None:
    found = differences(load("http")["open"][part], present[part])
    assert not found, "\n".join(found)


def test_a_service_with_keys(strict_service: RunningService) -> None:
    found = differences(load("http")["strict"], http_surface.of_strict_service(strict_service))
    assert not found, "\n".join(found)
