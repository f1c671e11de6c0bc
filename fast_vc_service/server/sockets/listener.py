"""Accepts connections: a few a turn, each into a place, before anything of theirs is read."""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from loguru import logger

from fast_vc_service.server.sockets.codes import SocketCode
from fast_vc_service.server.sockets.held_bytes import HeldBytes
from fast_vc_service.server.sockets.paced import PacedTransport
from fast_vc_service.server.sockets.places import Place, Places
from fast_vc_service.server.sockets.shared_buffer import SharedBuffer
from fast_vc_service.server.sockets.turns import Turns
from fast_vc_service.server.standstill import Standstill

ACCEPTED_A_TURN = 8
HANDSHAKES_A_TURN = 2
"""The same with TLS, whose handshake takes a millisecond of computing."""

_NO_LIMIT_S = 86_400.0
"""For the handshake: the loop's own limit would count what the process stood still."""

CHECK_INTERVAL_S = 1.0
_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE_S = 0.1


class Listener:
    """Serves a bound, listening socket; what uvicorn calls one of its servers.

    Args:
        sock: As above; closed by its owner.
        make: Makes the protocol of a connection.
        places: Who may come.
        turns: Those of the running loop.
        tls: How connections are encrypted; None: not at all.
    """

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[], asyncio.BaseProtocol],
        *,
        places: Places,
        turns: Turns,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._sock = sock
        self._make = make
        self._places = places
        self._turns = turns
        self._tls = tls
        self._held = HeldBytes()
        self._buffer = SharedBuffer()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._standstill = Standstill(CHECK_INTERVAL_S)
        sock.setblocking(False)
        self._listen()
        self._check()

    def close(self) -> None:
        """Accept nobody any more."""
        self._loop.remove_reader(self._sock)
        for timer in self._timers.values():
            timer.cancel()

    async def wait_closed(self) -> None:
        """Wait until nobody is being accepted."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            # What one of them fails by is logged by the loop, as that of any other task.
            await asyncio.wait(tasks)

    def _listen(self) -> None:
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(HANDSHAKES_A_TURN if self._tls else ACCEPTED_A_TURN):
            try:
                connection, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS:
                    self._pause(error)
                    return
                # The peer has gone in between.
                continue
            self._take(connection, address)

    def _pause(self, error: OSError) -> None:
        """Let the oldest go, and try again in a moment: the loop would only spin meanwhile."""
        self._places.refuse(SocketCode.NO_DESCRIPTORS)
        logger.warning("no connection can be accepted for a moment: {}", error.strerror)
        self._places.drop_oldest()
        self._loop.remove_reader(self._sock)
        self._timers["listen"] = self._loop.call_later(_PAUSE_S, self._listen)

    def _take(self, connection: socket.socket, address: Any) -> None:
        peer = address[0] if isinstance(address, tuple) else None
        place = self._places.take(peer, time.monotonic())
        if place is None:
            connection.close()
            return
        task = self._loop.create_task(self._connect(connection, place))
        place.drop = task.cancel
        place.check = functools.partial(self._check_handshake, place, task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: socket.socket, place: Place) -> None:
        connected = False
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                lambda: self._transport(place),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=_NO_LIMIT_S if self._tls else None,
            )
            connected = True
        except OSError:
            if self._tls:
                self._places.refuse(SocketCode.TLS_FAILED)
        finally:
            if not connected:
                self._places.leave(place)
                connection.close()

    def _transport(self, place: Place) -> PacedTransport:
        return PacedTransport(
            self._make,
            place=place,
            places=self._places,
            turns=self._turns,
            held=self._held,
            buffer=self._buffer,
        )

    def _check_handshake(self, place: Place, task: asyncio.Task[None], now: float) -> None:
        if place.is_late(now):
            self._places.refuse(SocketCode.TLS_FAILED)
            task.cancel()

    def _check(self) -> None:
        # First of all: what fails for one place does not end the checks of the others for good.
        self._timers["check"] = self._loop.call_later(CHECK_INTERVAL_S, self._check)
        stood_s, now = self._standstill.passed_s(), time.monotonic()
        for place in self._places:
            if stood_s:
                place.shift(stood_s)
            place.check(now)
