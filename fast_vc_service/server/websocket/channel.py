"""The frames of one connection, in and out, in the client's dialect."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from fast_vc_service.protocol.messages import Notice
from fast_vc_service.protocol.opening import Ready
from fast_vc_service.server.websocket.dialects.dialect import Dialect
from fast_vc_service.server.websocket.dialects.standard import STANDARD
from fast_vc_service.server.websocket.refused_input import Refusable, refusal_of
from fast_vc_service.server.websocket.time_limits import Watch
from fast_vc_service.sessions.errors import SessionError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Wire(Protocol):
    """What the endpoint needs of a connection beyond ASGI: ``extensions["connection"]``.

    Attributes:
        take_now: Offered binary messages before they are queued; True when it has taken one.
    """

    take_now: Callable[[bytes], bool] | None

    def know(self) -> None:
        """Take note that the client may have a session; nothing more is read before."""
        ...

    def arrived_at(self) -> float:
        """Monotonic seconds at which what is being taken has come."""
        ...

    def send_now(self, payload: bytes) -> bool:
        """Send a binary message at once; False, and nothing is sent, when that cannot be."""
        ...

    def unsent_bytes(self) -> int:
        """Bytes that the peer has not accepted yet."""
        ...

    def abort(self) -> None:
        """Cut the line."""
        ...


class PeerGoneError(Exception):
    """The peer is gone."""


class Channel:
    """One client's line.

    Args:
        receive: ASGI's.
        send: ASGI's.
        wire: The connection beneath.
        watch: Told of every message that comes and that is being sent.

    Attributes:
        wire: As given.
        dialect: What the client speaks; the standard one before its first message.
        session_id: What the client calls its session.
    """

    def __init__(self, receive: Receive, send: Send, wire: Wire, watch: Watch) -> None:
        self._receive = receive
        self._send = send
        self._watch = watch
        self.wire = wire
        self.dialect: Dialect = STANDARD
        self.session_id: str | None = None

    async def accept(self) -> bool:
        """Accept the upgrade; False when the peer is gone already."""
        if (await self._receive())["type"] != "websocket.connect":
            return False
        await self._send({"type": "websocket.accept"})
        return True

    async def next_message(self) -> str | bytes | SessionError:
        """Return the next message, or why one is not even read.

        Raises:
            PeerGoneError: There is none.
        """
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise PeerGoneError
        self._watch.heard_at = time.monotonic()
        refused: Refusable | None = message.get("refused")
        if refused is not None:
            return refusal_of(refused)
        text: str | None = message.get("text")
        if text is not None:
            return text
        payload: bytes = message["bytes"]
        return payload

    def send_now(self, payload: bytes) -> bool:
        """Send audio at once, unless something is being sent; False: nothing was sent."""
        if self._watch.sending or not self.wire.send_now(payload):
            return False
        self._watch.written_bytes += len(payload)
        return True

    async def put_audio(self, payload: bytes) -> None:
        """Send audio."""
        self._watch.written_bytes += len(payload)
        await self._put({"type": "websocket.send", "bytes": payload})

    async def put_ready(self, ready: Ready) -> None:
        """Send the hello, where the dialect has one.

        Raises:
            PeerGoneError: Nobody is there to hear it.
        """
        self.session_id = ready.session_id
        text = self.dialect.ready(ready)
        if text is not None:
            try:
                await self._send({"type": "websocket.send", "text": text})
            except OSError as error:
                raise PeerGoneError from error

    async def put_notice(self, notice: Notice) -> None:
        """Send ``notice``, where the dialect tells it."""
        text = self.dialect.notice(notice)
        if text is not None:
            await self._put({"type": "websocket.send", "text": text})

    async def close(self, code: int) -> None:
        """Send the close frame."""
        await self._put({"type": "websocket.close", "code": code})

    async def put_error(self, error: SessionError) -> None:
        """Send ``error`` and the close frame; a peer that is gone is ignored."""
        text = self.dialect.error(error, self.session_id)
        with contextlib.suppress(Exception):
            await self._put({"type": "websocket.send", "text": text})
            await self.close(error.code.close_code)

    async def _put(self, message: Message) -> None:
        """Send ``message``, under the watch for peers that do not read."""
        self._watch.sends(time.monotonic())
        try:
            await self._send(message)
        finally:
            self._watch.sent()
