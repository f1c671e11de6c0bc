"""The one shape of an error over HTTP: that of the ``error`` message over WebSocket."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel
from starlette.responses import JSONResponse


class EdgeCode(StrEnum):
    """Error codes that only HTTP knows; the others are :class:`ErrorCode`."""

    FORBIDDEN_HOST = "FORBIDDEN_HOST"
    FORBIDDEN_ORIGIN = "FORBIDDEN_ORIGIN"
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    HTTP_ERROR = "HTTP_ERROR"
    FORBIDDEN = "FORBIDDEN"
    NO_KEYS = "NO_KEYS"
    INVALID_REQUEST = "INVALID_REQUEST"
    CONSENT_REQUIRED = "CONSENT_REQUIRED"
    VOICE_EXISTS = "VOICE_EXISTS"
    TOO_MANY_VOICES = "TOO_MANY_VOICES"
    TOO_LARGE = "TOO_LARGE"
    UNSUPPORTED_AUDIO = "UNSUPPORTED_AUDIO"
    UNSUITABLE_CLIP = "UNSUITABLE_CLIP"
    UPLOAD_STALLED = "UPLOAD_STALLED"
    QUEUE_FULL = "QUEUE_FULL"
    UNKNOWN_JOB = "UNKNOWN_JOB"
    JOB_NOT_DONE = "JOB_NOT_DONE"


class Problem(BaseModel):
    """An error, in the shape of the `error` message over WebSocket."""

    type: Literal["error"] = "error"
    error_code: str
    message: str
    details: dict[str, Any]


class ProblemError(Exception):
    """Ends a request with an error the client is told.

    Attributes:
        status: HTTP status.
        body: As of :func:`problem`.
        headers: Further ones of the response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        **details: object,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = problem(code, message, **details)
        self.headers = headers


def problem(code: str, message: str, **details: object) -> dict[str, Any]:
    """Return the body of an error response; ``details`` as in ``SessionError``, None left out."""
    told = {name: value for name, value in details.items() if value is not None}
    return {"type": "error", "error_code": str(code), "message": message, "details": told}


def respond(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return ``body`` as a response that no cache keeps."""
    return JSONResponse(body, status, {"cache-control": "no-store", **(headers or {})})
