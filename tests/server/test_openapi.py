"""The document says all there is, and what it says holds under generated requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from fake_service import ALICE, FakeService, catalogue, passthrough_work, some_keys
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS
from starlette.testclient import TestClient

from fast_vc_service.server.http.application import create_http_app
from fast_vc_service.server.http.jobs.store import JobStore
from fast_vc_service.server.http.openapi import describe

EXPECTED = {
    "/health": {"get"},
    "/health/live": {"get"},
    "/health/ready": {"get"},
    "/version": {"get"},
    "/metrics": {"get"},
    "/tools/performance-report": {"get"},
    "/tokens": {"post"},
    "/voices": {"get", "post"},
    "/voices/{name}": {"get", "delete"},
    "/voices/{name}/sample": {"get"},
    "/convert": {"post"},
    "/jobs": {"get", "post"},
    "/jobs/{job_id}": {"get", "delete"},
    "/jobs/{job_id}/result": {"get"},
}
OPEN = {"/health", "/health/live", "/health/ready", "/version"}


def make_app(folder: Path) -> FastAPI:
    voices = catalogue(folder / "voices")
    store = JobStore(folder / "jobs", max_waiting=5)
    service = FakeService(voices, passthrough_work(voices), some_keys(), jobs=store)
    service.observer.metrics.watch(service, 0.2)
    return create_http_app(service)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return make_app(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def document(app: FastAPI) -> dict[str, Any]:
    return describe(app)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].split("/")[-1]]
        return found
    return schema


def test_every_route_is_there(document: dict[str, Any]) -> None:
    assert {path: set(methods) for path, methods in document["paths"].items()} == EXPECTED
    assert "HTTPValidationError" not in str(document)


def test_every_body_has_an_example_that_fits(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        for status, response in operation["responses"].items():
            assert response["description"], where
            for kind, content in response.get("content", {}).items():
                if kind != "application/json":
                    continue
                schema = resolved(document, content["schema"])
                examples = [*schema.get("examples", []), content.get("example")]
                examples = [example for example in examples if example is not None]
                assert examples, f"{where} {status}"
                for example in examples:
                    told = {**schema, "components": document["components"]}
                    jsonschema.validate(example, told)
        body = operation.get("requestBody", {}).get("content", {})
        for content in body.values():
            assert set(content["example"]) <= set(content["schema"]["properties"]), where
            assert set(content["schema"]["required"]) <= set(content["example"]), where


def test_what_needs_a_key_says_so(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert ("security" in operation) is (path not in OPEN), f"{method} {path}"
        assert ("401" in operation["responses"]) is (path not in OPEN)


def test_the_shown_metrics_are_said(app: FastAPI, document: dict[str, Any]) -> None:
    content = document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    shown = content["text/plain"]["example"].splitlines()
    client = TestClient(app, "http://localhost")
    said = client.get("/metrics", headers={"authorization": f"Bearer {ALICE}"}).text.splitlines()
    assert set(shown[:2]) < set(said)


@pytest.fixture(scope="module")
def generated(app: FastAPI) -> Any:
    return schemathesis.openapi.from_asgi(
        "/openapi.json", app, headers={"Authorization": f"Bearer {ALICE}"}
    )


@pytest.mark.parametrize(
    ("path", "method"), [(path, method) for path in EXPECTED for method in sorted(EXPECTED[path])]
)
def test_generated_requests_are_answered_as_described(
    generated: Any, path: str, method: str
) -> None:
    operation = generated[path][method.upper()]
    # Random bytes are no audio: a form that fits its schema is refused all the same.
    excluded = [CHECKS.get_one("positive_data_acceptance")]

    @given(case=operation.as_strategy())
    @settings(max_examples=25, suppress_health_check=list(HealthCheck), database=None)
    def answers(case: Any) -> None:
        response = case.call(headers={"Authorization": f"Bearer {ALICE}"})
        case.validate_response(response, excluded_checks=excluded)
        # Hypothesis takes texts of this file for names, which are told again: this one is none.
        assert not re.search(r"Traceback [(]most recent|/tmp[/]", response.text)

    answers()
