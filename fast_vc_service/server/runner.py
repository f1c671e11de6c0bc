"""Uvicorn, with what a voice service needs of it: a drain before sockets close, and the transport.

The stock server closes its sockets before the application hears of a shutdown; here both SIGINT
and SIGTERM first let the sessions end, and a second signal stops at once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType

import uvicorn
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State

WS_MAX_SIZE = 16 * 1024 * 1024
"""Bytes of a message beyond which the library itself closes with 1009."""


class TransportProtocol(WebSocketsSansIOProtocol):
    """The WebSocket protocol, with itself in ``scope["extensions"]["connection"]``.

    The endpoint needs it to take audio and to send it without a task, to see whether the peer
    accepts output, and to cut the line.

    Attributes:
        take_now: Offered every whole binary message that no other waits in front of; True when it
            has been taken, else it goes the way of the rest. Queueing a message and waking a task
            for it, with reading paused meanwhile, costs more than converting its format.
    """

    take_now: Callable[[bytes], bool] | None = None

    def handle_connect(self, event: Request) -> None:
        """Answer the upgrade request."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions = self.scope["extensions"]
            extensions["connection"] = self  # type: ignore[assignment]

    def handle_bytes(self, event: Frame) -> None:
        """Take a binary message, or the first frame of one."""
        take_now = self.take_now
        if (
            take_now is not None
            and event.fin
            and self.queue.empty()
            and not self.close_sent
            and take_now(bytes(event.data))
        ):
            return
        super().handle_bytes(event)

    def send_now(self, payload: bytes) -> bool:
        """Send a binary message at once; False, and nothing is sent, when that cannot be."""
        open_ = self.conn.state is State.OPEN and not self.transport.is_closing()
        if not open_ or not self.writable.is_set():
            return False
        self.conn.send_binary(payload)
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    def unsent_bytes(self) -> int:
        """Bytes that the peer has not accepted yet."""
        return self.transport.get_write_buffer_size()

    def abort(self) -> None:
        """Cut the line."""
        self.transport.abort()

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application says."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            # A refused upgrade is complete; the base class would log each one as an error.
            self.handshake_complete = True


class DrainingServer(uvicorn.Server):
    """A server that drains before it stops.

    Args:
        config: Uvicorn's configuration.
        drain: Awaited once after the first signal.
    """

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving on ``sockets``."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Drain at the first signal, stop at once at the second."""
        if self._loop is None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self.stop)

    def stop(self) -> None:
        """Do what a signal does; on the event loop."""
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain_then_exit())
        else:
            self.force_exit = True
            self.should_exit = True

    async def _drain_then_exit(self) -> None:
        try:
            await self._drain()
        finally:
            self.should_exit = True


def uvicorn_config(
    app: Callable[..., Awaitable[None]],
    *,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> uvicorn.Config:
    """Return the configuration every instance runs with; sockets are bound elsewhere.

    Server pings are off: a library's ping dies of its own back-pressure; TCP keepalive on the
    listening socket finds half-open peers instead.
    """
    return uvicorn.Config(
        app,
        ws=TransportProtocol,
        ws_max_size=WS_MAX_SIZE,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )
