"""Uvicorn's HTTP protocol with bounded heads, requests that take turns, and a quiet log."""

from __future__ import annotations

import time
from typing import Any, cast

from starlette.types import ASGIApp
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from fast_vc_service.server.sockets.answers import granted
from fast_vc_service.server.sockets.codes import SocketCode
from fast_vc_service.server.sockets.paced import PacedTransport
from fast_vc_service.server.sockets.quiet import CONNECTION_LOG

MAX_HEAD_BYTES = 64 * 1024
"""Longest request line with headers; the same bounds trailers and what stands between chunks."""

MAX_HEADERS = 128

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n"
    b"\r\n"
)


class TooManyHeadersError(Exception):
    """Stops the parser in the middle of a head."""


class HttpProtocol(HttpToolsProtocol):
    """One HTTP connection; ``scope["extensions"]["paced"]`` is its transport.

    Without a :class:`PacedTransport` beneath only heads are bounded.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = CONNECTION_LOG
        self._paced: PacedTransport | None = None
        # Since the last part of a body, or the end of a head: whatever the parser holds on to.
        self._unanswered_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        self._paced = transport.get_extra_info("paced")

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        if self.transport.is_closing():
            return
        self._unanswered_bytes += len(data)
        super().data_received(data)
        if self._unanswered_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """See the base class."""
        super().on_message_begin()
        self._unanswered_bytes = 0
        if self._paced is not None:
            self.scope["extensions"] = {"paced": self._paced}  # type: ignore[dict-item]
            self._paced.places.begins(self._paced.place, time.monotonic())

    def on_headers_complete(self) -> None:
        """See the base class."""
        self._unanswered_bytes = 0
        if len(self.headers) > MAX_HEADERS:
            raise TooManyHeadersError
        if self._paced is not None:
            self._paced.places.asked(self._paced.place)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See the base class."""
        self._unanswered_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """See the base class."""
        if self._paced is not None:
            self._paced.forget()
        super().on_response_complete()

    def held_bytes(self) -> int:
        """Bytes that are kept of what came."""
        body = 0 if self.cycle is None else len(self.cycle.body)
        return self._unanswered_bytes + body

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or stops the parser."""
        if len(self.headers or ()) > MAX_HEADERS:
            self._refuse_head()
            return
        if self._paced is not None:
            self._paced.places.refuse(SocketCode.BAD_REQUEST)
        super().send_400_response(msg)

    def _refuse_head(self) -> None:
        if not self.transport.is_closing():
            if self._paced is not None:
                self._paced.places.refuse(SocketCode.HEAD_TOO_LARGE)
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._paced is None or cycle.scope["path"].startswith("/health"):
            super()._start_asgi_task(cycle, app)
            return

        in_turn = cast(ASGI3Application, granted(cast(ASGIApp, app), self._paced.turns.answers))

        def start() -> None:
            if not cycle.disconnected:
                super(HttpProtocol, self)._start_asgi_task(cycle, in_turn)

        self._paced.turns.start(start)
