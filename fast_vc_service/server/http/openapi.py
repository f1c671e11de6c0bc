"""``/openapi.json``: what the framework derives of the routes, made true and complete."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from fast_vc_service.server.http.jobs.models import JobList, JobView
from fast_vc_service.server.http.problems import problem

DESCRIPTION = """\
Voices, files and the state of a voice conversion service. Live audio goes over WebSocket, to
`/ws`; `/asyncapi.json` describes that. Every error has one shape, `Problem`; its `error_code` is
for programs, its `message` and `details` for people.
"""
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, or a token made with one. Not asked for on a service without keys.",
}
_ANSWERS = ("get", "post", "delete")


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of ``app``.

    The framework's own validation error is left out: no route of ours ends in it. What needs a
    key says so, and every error response has an example.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=DESCRIPTION,
        routes=app.routes,
        tags=[
            {"name": "health", "description": "Open to everybody."},
            {"name": "measurements", "description": "How the service does."},
            {"name": "access", "description": "Tokens for browsers."},
            {"name": "voices", "description": "What sessions and files may be converted to."},
            {"name": "files", "description": "Files in another voice."},
        ],
    )
    components = document["components"]
    components["securitySchemes"] = {"key": _KEY}
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    for model in (JobView, JobList):
        # The framework drops members that are null from examples.
        components["schemas"][model.__name__]["examples"] = [model.EXAMPLE]
    for operations in document["paths"].values():
        for method in _ANSWERS:
            if method in operations:
                _complete(operations[method])
    return document


def _complete(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    if "401" in responses:
        operation["security"] = [{"key": []}]
    for status, response in responses.items():
        content = response.get("content", {}).get("application/json")
        if status >= "400" and content and "Problem" in str(content.get("schema")):
            content["example"] = problem(
                _EXAMPLE_CODES.get(status, "INTERNAL_ERROR"), response["description"]
            )


_EXAMPLE_CODES = {
    "400": "INVALID_REQUEST",
    "401": "AUTH_FAILED",
    "403": "FORBIDDEN",
    "404": "UNKNOWN_VOICE",
    "408": "UPLOAD_STALLED",
    "409": "VOICE_EXISTS",
    "413": "TOO_LARGE",
    "415": "UNSUPPORTED_AUDIO",
    "422": "UNSUITABLE_CLIP",
    "429": "TOO_MANY_VOICES",
    "503": "BUSY",
}
