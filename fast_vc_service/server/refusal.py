"""An HTTP answer in place of what was asked for, before any route; also to an upgrade."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from fast_vc_service.protocol.codes import EdgeCode
from fast_vc_service.server.http.problems import problem, respond
from fast_vc_service.server.http.response_headers import HEADERS


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP response in place of what was asked for."""

    status: int
    code: EdgeCode
    message: str
    details: dict[str, object]
    headers: dict[str, str] | None = None


def no_such_socket() -> Refusal:
    """Return the refusal of an upgrade to a path that is none of ours."""
    return Refusal(
        404,
        EdgeCode.NOT_FOUND,
        "there is no WebSocket at that path",
        {"expected": "/ws, or / for the same", "hint": "connect to /ws"},
    )


async def refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or an upgrade, with ``refusal``."""
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            # All that is left on a server without the extension; it makes a bare 403 of it.
            await send({"type": "websocket.close", "code": 1008})
            return
    body = problem(refusal.code, refusal.message, **refusal.details)
    headers = {**HEADERS, **(refusal.headers or {})}
    await respond(refusal.status, body, headers)(scope, receive, send)
