"""Uvicorn, with what a voice service needs of it: a drain before sockets close, and paced sockets.

The stock server accepts whatever comes and parses it at once; here :mod:`.sockets` comes before its
protocols. It closes its sockets before the application hears of a shutdown; here SIGINT, SIGTERM
and SIGHUP first let the sessions end, and a second signal stops at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import cast

import uvicorn
from loguru import logger

from fast_vc_service.engine.supervision import Backoff, OnRestart, ignore_restart, supervise
from fast_vc_service.process.signals import ending_signals
from fast_vc_service.protocol.limits import MAX_FRAME_BYTES
from fast_vc_service.server.sockets.http import HttpProtocol
from fast_vc_service.server.sockets.listener import Listener
from fast_vc_service.server.sockets.places import Places
from fast_vc_service.server.sockets.turns import Turns
from fast_vc_service.server.websocket.transport import TransportProtocol

DRAIN_ATTEMPTS = 3


class DrainingServer(uvicorn.Server):
    """A server that drains before it stops.

    Args:
        config: Uvicorn's configuration.
        drain: Awaited after the first signal; started again a few times when it fails.
        places: Who may connect.
        on_stall: Told the seconds of every stall of the event loop.
        on_restart: Told when it is.
        on_exit: Called when nothing but the end of the server is left to wait for.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Awaitable[None]],
        *,
        places: Places,
        on_stall: Callable[[float], None] = lambda _seconds: None,
        on_restart: OnRestart = ignore_restart,
        on_exit: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._places = places
        self._on_stall = on_stall
        self._on_restart = on_restart
        self._on_exit = on_exit
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving on ``sockets``."""
        self._loop = asyncio.get_running_loop()
        # Uvicorn starts the application and listens to nothing.
        await super().startup([])
        self._turns = Turns(self._on_stall)
        self._turns.watch()
        listeners = [
            Listener(
                sock,
                self._protocol,
                places=self._places,
                turns=self._turns,
                tls=self.config.ssl,
            )
            for sock in sockets or []
        ]
        # What it needs of them is close() and wait_closed().
        self.servers = cast(list[asyncio.base_events.Server], listeners)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving; after a second signal without waiting for connections."""
        self._turns.close()
        await super().shutdown(sockets)
        if self.force_exit:
            # The base class leaves the application's end to the end of the loop, which would
            # cancel it in the middle and log the traceback.
            await self.lifespan.shutdown()

    def _protocol(self) -> asyncio.BaseProtocol:
        return HttpProtocol(
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to SIGHUP as well while the server runs, where that is not ignored."""
        with super().capture_signals():
            in_main = threading.current_thread() is threading.main_thread()
            if not in_main or signal.SIGHUP not in ending_signals():
                yield
                return
            before = signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(signal.SIGHUP, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Drain at the first signal, stop at once at the second."""
        if self._loop is None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self.stop)

    def stop(self) -> None:
        """Do what a signal does; on the event loop."""
        if self._draining is None:
            self.stop_gently()
        else:
            self.force_exit = True
            self._exit()

    def stop_gently(self) -> None:
        """Drain, then stop; unless that has begun."""
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain_then_exit())

    async def _drain_then_exit(self) -> None:
        try:
            await supervise(
                "drain",
                self._drain,
                on_restart=self._on_restart,
                attempts=DRAIN_ATTEMPTS,
                backoff=Backoff(first_s=0.1),
            )
        except Exception:
            logger.exception("the service could not drain; it stops now")
        finally:
            self._exit()

    def _exit(self) -> None:
        self.should_exit = True
        self._on_exit()


def uvicorn_config(
    app: Callable[..., Awaitable[None]],
    *,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    max_message_bytes: int = MAX_FRAME_BYTES,
) -> uvicorn.Config:
    """Return the configuration every instance runs with; sockets are bound elsewhere.

    Server pings are off: a library's ping dies of its own back-pressure; TCP keepalive on the
    listening socket finds half-open peers instead.
    """
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=TransportProtocol,
        ws_max_size=max_message_bytes,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )
