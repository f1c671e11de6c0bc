import asyncio
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fake_service import FakeService, catalogue, passthrough_work
from fastapi import FastAPI
from starlette.testclient import TestClient

from fast_vc_service import __version__
from fast_vc_service.protocol.service_state import ServiceState
from fast_vc_service.server.auth import KeyEntry, KeyRing
from fast_vc_service.server.http import openapi
from fast_vc_service.server.http.application import create_http_app

OPEN = ("/health", "/health/live", "/health/ready", "/version")
KEYED = ("/metrics", "/tools/performance-report", "/openapi.json", "/asyncapi.json", "/voices")


@pytest.fixture
def service(tmp_path: Path) -> FakeService:
    voices = catalogue(tmp_path)
    made = FakeService(voices, passthrough_work(voices))
    made.observer.metrics.watch(made, 0.2)
    return made


@pytest.fixture
def client(service: FakeService) -> Iterator[TestClient]:
    with TestClient(create_http_app(service), raise_server_exceptions=False) as made:
        yield made


def is_problem(body: dict[str, Any], code: str) -> bool:
    return set(body) == {"type", "error_code", "message", "details"} and (
        body["type"],
        body["error_code"],
    ) == ("error", code)


def test_health_of_a_ready_service(client: TestClient) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    told = answer.json()
    assert 60 <= told.pop("uptime_s") < 600
    assert told == {
        "status": "healthy",
        "state": "ready",
        "engine": "world",
        "sessions": {"live": 3, "capacity": 24},
        "warnings": [],
        "version": __version__,
    }
    assert answer.headers["cache-control"] == "no-store"


def test_health_of_a_service_on_a_machine_that_is_too_slow(
    client: TestClient, service: FakeService
) -> None:
    service.warnings = ["too slow"]
    answer = client.get("/health")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["state"], told["warnings"]) == ("ready", ["too slow"])


@pytest.mark.parametrize("state", ["starting", "draining"])
def test_health_of_a_service_that_admits_nobody(
    client: TestClient, service: FakeService, state: ServiceState
) -> None:
    service.state = state
    assert client.get("/health/live").status_code == 200
    for path in ("/health", "/health/ready"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.json()["state"] == state
        assert int(answer.headers["retry-after"]) > 0
    assert client.get("/health").json()["status"] == state


def test_ready_again_when_the_state_is(client: TestClient, service: FakeService) -> None:
    service.state = "starting"
    assert client.get("/health/ready").status_code == 503
    service.state = "ready"
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"state": "ready"})


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_answers_head(client: TestClient, path: str) -> None:
    assert client.head(path).status_code == 200


def test_version_does_not_import_torch(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    told = client.get("/version").json()
    assert told == {
        "version": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": None,
    }
    assert "torch" not in sys.modules
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__="2.13.0"))
    assert client.get("/version").json()["torch"] == "2.13.0"


def test_metrics_are_prometheus_text(client: TestClient, service: FakeService) -> None:
    service.observer.session_opened()
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "fast_vc_sessions_opened_total 1.0" in answer.text
    assert 'fast_vc_state{state="ready"} 1.0' in answer.text


def test_performance_report(client: TestClient, service: FakeService) -> None:
    service.observer.block({"total": 0.040})
    told = client.get("/tools/performance-report").json()
    assert told["stages_ms"]["total"]["count"] == 1
    assert told["stages_ms"]["total"]["median"] == pytest.approx(40)
    assert told["stages_ms"]["decode"] == dict.fromkeys(
        ("mean", "median", "min", "max", "std", "p95", "p99")
    ) | {"count": 0}


def test_every_error_is_json_in_one_shape(client: TestClient) -> None:
    for path in ("/nowhere", "/docs", "/redoc", "/health/", "/tools"):
        answer = client.get(path, follow_redirects=False)
        assert answer.status_code == 404, path
        assert is_problem(answer.json(), "NOT_FOUND")
    answer = client.post("/health")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    assert is_problem(answer.json(), "METHOD_NOT_ALLOWED")


def test_a_fault_is_told_without_its_inside(
    client: TestClient, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bytes:
        raise OSError("secret path")

    monkeypatch.setattr(service.observer.metrics, "render", fail)
    answer = client.get("/metrics")
    assert answer.status_code == 500
    assert is_problem(answer.json(), "INTERNAL_ERROR")
    assert "secret" not in answer.text


def test_with_keys_only_health_and_version_are_open(
    client: TestClient, service: FakeService
) -> None:
    service.keys = KeyRing([KeyEntry("a", "alice-secret")], failure_delay_s=0)
    with TestClient(create_http_app(service)) as locked:
        for path in OPEN:
            assert locked.get(path).status_code == 200, path
        for path in KEYED:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}):
                answer = locked.get(path, headers=headers)
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert is_problem(answer.json(), "AUTH_FAILED")
                assert "wrong" not in answer.json()["details"]["got"]
            key = {"Authorization": "Bearer alice-secret"}
            assert locked.get(path, headers=key).status_code == 200, path


def test_a_wrong_key_waits_and_a_missing_one_does_not(service: FakeService) -> None:
    service.keys = KeyRing([KeyEntry("a", "alice-secret")], failure_delay_s=0.3)
    with TestClient(create_http_app(service)) as locked:
        started = time.monotonic()
        locked.get("/metrics", headers={"Authorization": "Bearer wrong"})
        waited = time.monotonic() - started
        assert waited >= 0.3
        started = time.monotonic()
        locked.get("/metrics")
        assert time.monotonic() - started < waited


def test_nothing_is_loaded_from_elsewhere(client: TestClient) -> None:
    for path in (*OPEN, *KEYED, "/docs", "/redoc"):
        assert not re.search(r"https?://", client.get(path).text), path


def test_the_description_is_built_once_and_not_on_the_event_loop(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders: list[int] = []
    describe = openapi.describe

    def noted(app: FastAPI) -> dict[str, Any]:
        builders.append(threading.get_ident())
        return describe(app)

    monkeypatch.setattr(openapi, "describe", noted)
    app = create_http_app(service)

    async def ask() -> list[Any]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [(await client.get("/openapi.json")).json() for _ in range(3)]

    answers = asyncio.run(ask())
    assert answers == [describe(app)] * 3
    assert len(builders) == 1
    assert builders[0] != threading.get_ident()
