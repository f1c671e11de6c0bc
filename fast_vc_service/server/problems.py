"""The one shape of an error over HTTP: that of the ``error`` message over WebSocket."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from starlette.responses import JSONResponse


class EdgeCode(StrEnum):
    """Error codes that only HTTP knows; the others are :class:`ErrorCode`."""

    FORBIDDEN_HOST = "FORBIDDEN_HOST"
    FORBIDDEN_ORIGIN = "FORBIDDEN_ORIGIN"
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    HTTP_ERROR = "HTTP_ERROR"


def problem(code: str, message: str, **details: object) -> dict[str, Any]:
    """Return the body of an error response; ``details`` as in ``SessionError``, None left out."""
    told = {name: value for name, value in details.items() if value is not None}
    return {"type": "error", "error_code": str(code), "message": message, "details": told}


def respond(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return ``body`` as a response that no cache keeps."""
    return JSONResponse(body, status, {"cache-control": "no-store", **(headers or {})})
