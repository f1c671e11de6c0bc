"""The one shape of an error over HTTP: that of the ``error`` message over WebSocket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel
from starlette.responses import JSONResponse

from fast_vc_service.protocol.wire import failure


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
    return failure(code, message, details)


def respond(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return ``body`` as a response that no cache keeps."""
    return JSONResponse(body, status, {"cache-control": "no-store", **(headers or {})})
