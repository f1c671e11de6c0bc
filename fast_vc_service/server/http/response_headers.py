"""What every answer tells browsers: it is what it says it is, and for no other site to show."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


def with_headers(app: ASGIApp) -> ASGIApp:
    """Return an HTTP application with :data:`HEADERS` on all its answers."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(raw=message.setdefault("headers", [])).update(HEADERS)
            await send(message)

        await app(scope, receive, tell)

    return serve
