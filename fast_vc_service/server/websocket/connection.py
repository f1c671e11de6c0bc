"""The WebSocket endpoint: one connection from its first message to the close handshake.

An ASGI application on its own, since a framework's wrapper would cost every 20 ms message. Three
things run a connection: a reader task, a writer task, and the service, which calls
:meth:`Connection.check`. Audio passes by the tasks while it can be taken and sent at once: waking
one for every message would be a good part of what a message costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from loguru import logger

from fast_vc_service.server.admission import Admission
from fast_vc_service.server.auth import KeyIdentity, bearer
from fast_vc_service.server.protocols.dialect import Dialect
from fast_vc_service.server.protocols.first import (
    FirstMessageError,
    parse_first,
    presented_key,
)
from fast_vc_service.server.protocols.standard import STANDARD
from fast_vc_service.server.service import Service
from fast_vc_service.server.turnover import RETRY_S
from fast_vc_service.server.watch import Watch
from fast_vc_service.sessions.errors import ErrorCode, SessionError, internal_error
from fast_vc_service.sessions.events import (
    End,
    GoingAway,
    Marker,
    Notice,
    Ready,
    Refused,
    Start,
    Update,
)
from fast_vc_service.sessions.session import Output, Session

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SLOW_READER_GOODBYE_S = 1.0
"""How long error and close are tried on a peer that does not read."""


class Wire(Protocol):
    """What the endpoint needs of a connection beyond ASGI: ``extensions["connection"]``.

    Attributes:
        take_now: Offered binary messages before they are queued; True when it has taken one.
    """

    take_now: Callable[[bytes], bool] | None

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


class WebSocketEndpoint:
    """ASGI application for ``/ws`` and ``/``."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one WebSocket connection."""
        await Connection(self._service, scope, receive, send).run()


class Connection:
    """One client."""

    def __init__(self, service: Service, scope: Message, receive: Receive, send: Send) -> None:
        self._service = service
        self._limits = service.limits
        self._scope = scope
        self._receive = receive
        self._send = send
        self._wire: Wire = scope["extensions"]["connection"]
        self._watch = Watch(service.limits, self._wire.unsent_bytes)
        self._internal_id = uuid.uuid4().hex[:12]
        self._dialect: Dialect = STANDARD
        self._session_id: str | None = None
        self._session: Session | None = None
        self._waiting = False
        self._ended = False
        self._outcome = "disconnect"
        self._gone = False
        self._writer: asyncio.Task[None] | None = None
        self._owner: str | None = None

    async def run(self) -> None:
        """Serve the connection; returns when it is closed."""
        with logger.contextualize(session_id=self._internal_id):
            try:
                await self._serve()
            except PeerGoneError:
                logger.debug("peer went away before a session began")
            except SessionError as error:
                self._service.observer.refused(error.code)
                logger.info("refused: {} {}", error.code, error.message)
                await self._say_error(error)
            except Exception:
                logger.exception("fault in a connection")
                await self._say_error(internal_error())

    # ------------------------------------------------------------- admission

    async def _serve(self) -> None:
        if (await self._receive())["type"] != "websocket.connect":
            return
        await self._send({"type": "websocket.accept"})
        message = await self._first_message()
        start, identity = await self._authenticate(message)
        self._owner = identity.name if identity is not None else None
        if not self._service.keys.acquire(identity):
            raise SessionError(
                ErrorCode.BUSY,
                "this key has all its sessions in use",
                hint="end one of them first",
                retry_after_s=RETRY_S,
            )
        try:
            await self._converse(await self._admit(start))
        finally:
            self._service.keys.release(identity)

    async def _first_message(self) -> str | bytes:
        try:
            async with asyncio.timeout(self._limits.handshake_timeout_s):
                return await self._next_message()
        except TimeoutError:
            raise SessionError(
                ErrorCode.TIMEOUT,
                "no first message came",
                expected=f"a config message within {self._limits.handshake_timeout_s:g} s",
                got="nothing",
            ) from None

    async def _authenticate(self, message: str | bytes) -> tuple[Start, KeyIdentity | None]:
        """Judge the key first, then the message; the answer is in the client's dialect."""
        keys = self._service.keys
        presented = presented_key(message) or bearer(self._scope["headers"])
        identity = keys.check(presented)
        wrong: FirstMessageError | None = None
        start = Start()
        try:
            self._dialect, start = parse_first(message)
            self._session_id = start.session_id
        except FirstMessageError as error:
            self._dialect, self._session_id, wrong = error.dialect, error.session_id, error
        if keys.required and identity is None:
            await keys.delay_failure()
            raise _auth_error(presented)
        if wrong is not None:
            raise wrong
        return start, identity

    async def _admit(self, start: Start) -> Session:
        admission = Admission(self._service, self._owner, self._internal_id)
        session, ready = await admission.admit(start, send_now=self._send_now)
        self._session = session
        self._session_id = ready.session_id
        try:
            await self._tell_ready(ready)
        except BaseException:
            # The client has left in between: the slot must not stay with it.
            session.close()
            raise
        return session

    async def _tell_ready(self, ready: Ready) -> None:
        text = self._dialect.ready(ready)
        if text is not None:
            await self._send({"type": "websocket.send", "text": text})

    # ---------------------------------------------------------- conversation

    async def _converse(self, session: Session) -> None:
        """Read and write until the session is over, then close; the slot is always given back."""
        service = self._service
        service.joined(self)
        service.observer.session_opened()
        self._watch.opened(time.monotonic())
        logger.info("session opened, {} live", service.live_sessions)
        self._wire.take_now = self._take_now
        reader = asyncio.create_task(self._read(session))
        self._writer = writer = asyncio.create_task(self._write(session))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if not self._gone:
                await asyncio.wait({writer})
        finally:
            self._wire.take_now = None
            session.close()
            service.left(self)
            for task in (reader, writer):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, PeerGoneError, OSError):
                    await task
            service.observer.session_closed(self._outcome)
            logger.info("session closed: {}", self._outcome)
            if self._watch.stuck:
                await self._abandon()

    async def _read(self, session: Session) -> None:
        """Take messages until the peer is gone; what follows ``end`` or an error is dropped."""
        try:
            while True:
                self._waiting = True
                message = await self._next_message()
                self._waiting = False
                if self._ended:
                    continue
                await self._take(session, message)
        except PeerGoneError:
            self._gone = True
        except SessionError as error:
            self._fail(session, error)
        except Exception:
            logger.exception("fault while reading")
            self._fail(session, internal_error())

    def _take_now(self, payload: bytes) -> bool:
        """Take audio past the reader, unless that is busy with an earlier message."""
        session = self._session
        if session is None or self._ended or not self._waiting:
            return False
        if len(payload) > self._limits.max_message_bytes:
            return False
        self._watch.heard_at = now = time.monotonic()
        try:
            return session.feed_now(payload, now)
        except SessionError as error:
            self._fail(session, error)
        except Exception:
            logger.exception("fault while reading")
            self._fail(session, internal_error())
        return True

    async def _take(self, session: Session, message: str | bytes) -> None:
        if len(message) > self._limits.max_message_bytes:
            raise SessionError(
                ErrorCode.INVALID_AUDIO,
                "the message is too large",
                expected=f"at most {self._limits.max_message_bytes} bytes",
                got=f"{len(message)} bytes",
                hint="send smaller chunks, 20 ms each",
            )
        if isinstance(message, bytes):
            await session.feed(message, self._watch.heard_at)
            self._watch.heard_at = time.monotonic()
            return
        event = self._dialect.parse(message)
        if isinstance(event, Marker):
            session.mark(event)
        elif isinstance(event, Update):
            await session.update(event)
        elif isinstance(event, Refused):
            session.warn(event.code, event.message)
        elif isinstance(event, End):
            self._ended = True
            session.end()

    async def _write(self, session: Session) -> None:
        try:
            while (output := await session.next_output()) is not None:
                await self._hand_over(session, output)
                if output.error is not None:
                    return
            self._outcome = "complete"
            await self._tell(session.complete())
            await self._put({"type": "websocket.close", "code": 1000})
        except (PeerGoneError, OSError):
            self._gone = True
        except Exception:
            logger.exception("fault while writing")
            self._outcome = str(ErrorCode.INTERNAL_ERROR)
            await self._say_error(internal_error())

    def _send_now(self, payload: bytes) -> bool:
        """Send audio past the writer, unless that has something under way itself."""
        if self._watch.sending or not self._wire.send_now(payload):
            return False
        self._watch.written_bytes += len(payload)
        return True

    async def _hand_over(self, session: Session, output: Output) -> None:
        if output.payload is not None:
            self._watch.written_bytes += len(output.payload)
            await self._put({"type": "websocket.send", "bytes": output.payload})
            session.handed_over(output)
        elif output.notice is not None:
            await self._tell(output.notice)
        elif output.error is not None:
            self._outcome = str(output.error.code)
            self._service.observer.error(output.error.code)
            await self._say_error(output.error)

    async def _tell(self, notice: Notice) -> None:
        text = self._dialect.notice(notice)
        if text is not None:
            await self._put({"type": "websocket.send", "text": text})

    def _fail(self, session: Session, error: SessionError) -> None:
        self._ended = True
        session.fail(error)

    # ----------------------------------------------------------- supervision

    def go_away(self, in_s: float) -> None:
        """See :class:`LiveConnection`."""
        if self._session is not None:
            self._session.notify(GoingAway(in_s))

    def finish(self) -> None:
        """See :class:`LiveConnection`."""
        if self._session is not None:
            self._ended = True
            self._session.end(
                SessionError(
                    ErrorCode.GOING_AWAY,
                    "the service is stopping",
                    hint="connect again, to another server or later",
                )
            )

    def check(self, now: float) -> None:
        """See :class:`LiveConnection`."""
        session = self._session
        if session is None or self._watch.stuck:
            return
        if self._watch.peer_is_stuck(now) and self._writer is not None:
            self._outcome = str(ErrorCode.SLOW_READER)
            self._service.observer.error(ErrorCode.SLOW_READER)
            self._writer.cancel()
        if self._ended:
            return
        error = self._watch.overdue(now, paced=session.paced)
        if error is not None:
            self._fail(session, error)

    async def _abandon(self) -> None:
        """Try to say why for a second, then cut the line."""
        error = SessionError(
            ErrorCode.SLOW_READER,
            "the client does not read its output",
            expected=f"some output read every {self._limits.slow_reader_s:g} s",
            hint="read while you send",
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SLOW_READER_GOODBYE_S):
                await self._say_error(error)
        self._wire.abort()

    # ----------------------------------------------------------------- frames

    async def _next_message(self) -> str | bytes:
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise PeerGoneError
        self._watch.heard_at = time.monotonic()
        text: str | None = message.get("text")
        if text is not None:
            return text
        payload: bytes = message["bytes"]
        return payload

    async def _put(self, message: Message) -> None:
        """Send ``message``, under the watch for peers that do not read (:meth:`check`)."""
        self._watch.sends(time.monotonic())
        try:
            await self._send(message)
        finally:
            self._watch.sending = False

    async def _say_error(self, error: SessionError) -> None:
        """Send ``error`` in the client's dialect and close; a peer that is gone is ignored."""
        text = self._dialect.error(error, self._session_id)
        with contextlib.suppress(Exception):
            await self._put({"type": "websocket.send", "text": text})
            await self._put({"type": "websocket.close", "code": error.code.close_code})


def _auth_error(presented: str | None) -> SessionError:
    return SessionError(
        ErrorCode.AUTH_FAILED,
        "the API key is missing or wrong",
        expected="a configured key in api_key or in the header Authorization: Bearer",
        got="another key" if presented else "no key",
    )
