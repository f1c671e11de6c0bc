"""The WebSocket endpoint: one connection from its first message to the close handshake.

An ASGI application on its own, since a framework's wrapper would cost every 20 ms message. Three
things run a connection: a reader task, a writer task, and the service, which calls
:meth:`Connection.check`. What each of them may do when is the table of :mod:`.life`. Audio passes
by the tasks while it can be taken and sent at once: waking one for every message would be a good
part of what a message costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid

from loguru import logger

from fast_vc_service.protocol.codes import ErrorCode
from fast_vc_service.protocol.messages import End, GoingAway, Marker, Update
from fast_vc_service.protocol.opening import Start
from fast_vc_service.server.admission import Admission
from fast_vc_service.server.auth import KeyIdentity, bearer
from fast_vc_service.server.retry_after import RETRY_S
from fast_vc_service.server.service import Service
from fast_vc_service.server.standstill import is_done_within
from fast_vc_service.server.websocket.channel import (
    Channel,
    Message,
    PeerGoneError,
    Receive,
    Send,
    Wire,
)
from fast_vc_service.server.websocket.dialects.dialect import Refused
from fast_vc_service.server.websocket.dialects.first_message import (
    FirstMessageError,
    parse_first,
    presented_key,
)
from fast_vc_service.server.websocket.life import OPEN, Event, Life, State
from fast_vc_service.server.websocket.refused_input import too_large
from fast_vc_service.server.websocket.time_limits import Watch
from fast_vc_service.sessions.errors import SessionError, internal_error
from fast_vc_service.sessions.outbox import Output
from fast_vc_service.sessions.session import Session

SLOW_READER_GOODBYE_S = 1.0
"""How long error and close are tried on a peer that does not read."""

SILENCED_SHARE = 0.01
"""Part of a session's audio that may be silenced without a warning in the log."""


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
        wire: Wire = scope["extensions"]["connection"]
        self._service = service
        self._headers = scope["headers"]
        self._watch = Watch(service.limits, wire.unsent_bytes)
        self._channel = Channel(receive, send, wire, self._watch)
        self._life = Life()
        self._internal_id = uuid.uuid4().hex[:12]
        self._session: Session | None = None
        self._writer: asyncio.Task[None] | None = None
        self._outcome = "disconnect"

    async def run(self) -> None:
        """Serve the connection; returns when it is closed."""
        with logger.contextualize(session_id=self._internal_id):
            try:
                await self._serve()
            except PeerGoneError:
                self._life.on(Event.GONE)
                logger.debug("peer went away before a session began")
            except SessionError as error:
                self._life.on(Event.REFUSED)
                self._service.observer.refused(error.code, error.message)
                await self._channel.put_error(error)
            except Exception:
                logger.exception("fault in a connection")
                await self._channel.put_error(internal_error())

    # ------------------------------------------------------------- admission

    async def _serve(self) -> None:
        if not await self._channel.accept():
            return
        self._life.on(Event.ACCEPTED)
        message = await self._first_message()
        self._life.on(Event.MESSAGE)
        if isinstance(message, SessionError):
            raise message
        start, identity = await self._authenticate(message)
        if identity is not None:
            self._channel.wire.know()
        if not self._service.keys.acquire(identity):
            raise SessionError(
                ErrorCode.BUSY,
                "this key has all its sessions in use",
                hint="end one of them first",
                retry_after_s=RETRY_S,
            )
        try:
            owner = identity.name if identity is not None else None
            await self._converse(await self._admit(start, owner))
        finally:
            self._service.keys.release(identity)

    async def _first_message(self) -> str | bytes | SessionError:
        timeout_s = self._service.limits.handshake_timeout_s
        message = asyncio.ensure_future(self._channel.next_message())
        try:
            if await is_done_within(message, timeout_s):
                return message.result()
        finally:
            message.cancel()
        raise SessionError(
            ErrorCode.TIMEOUT,
            "no first message came",
            expected=f"a config message within {timeout_s:g} s",
            got="nothing",
        )

    async def _authenticate(self, message: str | bytes) -> tuple[Start, KeyIdentity | None]:
        """Judge the key first, then the message; the answer is in the client's dialect."""
        keys, channel = self._service.keys, self._channel
        presented = presented_key(message) or bearer(self._headers)
        identity = keys.check(presented)
        wrong: FirstMessageError | None = None
        start = Start()
        try:
            channel.dialect, start = parse_first(message)
            channel.session_id = start.session_id
        except FirstMessageError as error:
            channel.dialect, channel.session_id, wrong = error.dialect, error.session_id, error
        if keys.required and identity is None:
            await keys.delay_failure()
            raise _auth_error(presented)
        if wrong is not None:
            raise wrong
        return start, identity

    async def _admit(self, start: Start, owner: str | None) -> Session:
        admission = Admission(self._service, owner, self._internal_id)
        session, ready = await admission.admit(start, send_now=self._channel.send_now)
        self._channel.wire.know()
        try:
            await self._channel.put_ready(ready)
        except BaseException:
            # The client has left in between, or cannot be told: the slot must not stay with it.
            session.close()
            raise
        self._session = session
        return session

    # ---------------------------------------------------------- conversation

    async def _converse(self, session: Session) -> None:
        """Read and write until the session is over, then close; the slot is always given back."""
        service = self._service
        self._life.on(Event.ADMITTED)
        service.joined(self)
        service.observer.session_opened()
        self._watch.opened(time.monotonic())
        logger.info("session opened, {} live", service.live_sessions)
        self._channel.wire.take_now = self._take_now
        reader = asyncio.create_task(self._read(session))
        self._writer = writer = asyncio.create_task(self._write(session))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if self._life.state is not State.CLOSED:
                await asyncio.wait({writer})
        finally:
            self._channel.wire.take_now = None
            session.close()
            service.left(self)
            for task in (reader, writer):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, PeerGoneError, OSError):
                    await task
            service.observer.session_closed(self._outcome)
            _log_end(session, self._outcome)
            if self._life.state is State.STUCK:
                await self._abandon()

    async def _read(self, session: Session) -> None:
        """Take messages until the peer is gone; what follows ``end`` or an error is dropped."""
        try:
            while True:
                message = await self._channel.next_message()
                self._life.on(Event.MESSAGE)
                if self._life.state is State.TAKING:
                    await self._take(session, message)
                    self._life.on(Event.TAKEN)
                    # One message a turn: a queue full of them must not hold up the others.
                    await asyncio.sleep(0)
        except PeerGoneError:
            self._life.on(Event.GONE)
        except SessionError as error:
            self._fail(error)
        except Exception:
            logger.exception("fault while reading")
            self._fail(internal_error())

    def _take_now(self, payload: bytes) -> bool:
        """Take audio past the reader, unless that is busy with an earlier message."""
        session = self._session
        if session is None or self._life.state is not State.LISTENING:
            return False
        # As it came, not as its turn has come: a stall of ours must not look like the client's.
        self._watch.heard_at = came_at = self._channel.wire.arrived_at()
        try:
            return session.feed_now(payload, came_at)
        except SessionError as error:
            self._fail(error)
        except Exception:
            logger.exception("fault while reading")
            self._fail(internal_error())
        return True

    async def _take(self, session: Session, message: str | bytes | SessionError) -> None:
        if isinstance(message, SessionError):
            raise message
        max_bytes = self._service.limits.max_message_bytes
        if len(message) > max_bytes:
            raise too_large(len(message), max_bytes)
        if isinstance(message, bytes):
            await session.feed(message, self._watch.heard_at)
            self._watch.heard_at = time.monotonic()
            return
        event = self._channel.dialect.parse(message)
        if isinstance(event, Marker):
            session.mark(event)
        elif isinstance(event, Update):
            await session.update(event)
        elif isinstance(event, Refused):
            session.warn(event.code, event.message)
        elif isinstance(event, End):
            self._life.on(Event.END)
            session.end()

    async def _write(self, session: Session) -> None:
        try:
            while (output := await session.next_output()) is not None:
                if output.error is not None:
                    await self._put_last_error(output.error)
                    return
                await self._hand_over(session, output)
            self._outcome = "complete"
            self._life.on(Event.LAST_WORD)
            await self._channel.put_notice(session.complete())
            await self._channel.close(1000)
            self._life.on(Event.SAID)
        except (PeerGoneError, OSError):
            self._life.on(Event.GONE)
        except Exception:
            logger.exception("fault while writing")
            await self._put_last_error(internal_error())

    async def _hand_over(self, session: Session, output: Output) -> None:
        if output.payload is not None:
            await self._channel.put_audio(output.payload)
            session.handed_over(output)
        elif output.notice is not None:
            await self._channel.put_notice(output.notice)

    async def _put_last_error(self, error: SessionError) -> None:
        self._life.on(Event.LAST_WORD)
        self._outcome = str(error.code)
        self._service.observer.error(error.code)
        await self._channel.put_error(error)
        self._life.on(Event.SAID)

    def _fail(self, error: SessionError) -> None:
        self._life.on(Event.FAILED)
        if self._session is not None:
            self._session.fail(error)

    # ------------------------------------------------------- from the service

    def go_away(self, in_s: float) -> None:
        """See :class:`LiveConnection`."""
        if self._session is not None:
            self._session.notify(GoingAway(in_s))

    def finish(self) -> None:
        """See :class:`LiveConnection`."""
        if self._session is not None and self._life.on(Event.DRAINED):
            self._session.end(
                SessionError(
                    ErrorCode.GOING_AWAY,
                    "the service is stopping",
                    hint="connect again, to another server or later",
                    received_ms=self._session.received_ms,
                )
            )

    def fail(self, error: SessionError) -> None:
        """See :class:`LiveConnection`."""
        self._fail(error)

    def stood_still(self, seconds: float) -> None:
        """See :class:`LiveConnection`."""
        self._watch.stood_still(seconds)

    def check(self, now: float) -> None:
        """See :class:`LiveConnection`."""
        if self._watch.peer_is_stuck(now) and self._life.on(Event.UNREAD):
            self._outcome = str(ErrorCode.SLOW_READER)
            self._service.observer.error(ErrorCode.SLOW_READER)
            if self._writer is not None:
                self._writer.cancel()
        session = self._session
        if session is None or self._life.state not in OPEN:
            return
        error = self._watch.overdue(now, paced=session.paced)
        if error is not None:
            self._life.on(Event.OVERDUE)
            session.fail(error)

    async def _abandon(self) -> None:
        """Try to say why for a second, then cut the line."""
        error = SessionError(
            ErrorCode.SLOW_READER,
            "the client does not read its output",
            expected=f"some output read every {self._service.limits.slow_reader_s:g} s",
            hint="read while you send",
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SLOW_READER_GOODBYE_S):
                await self._channel.put_error(error)
        self._channel.wire.abort()
        self._life.on(Event.SAID)


def _log_end(session: Session, outcome: str) -> None:
    heard_s, silenced_ms = session.received_ms / 1e3, session.silenced_ms
    share = silenced_ms / 1e3 / heard_s if heard_s else 0.0
    by_client_ms = session.late_by_client_ms
    blamed = f", {by_client_ms:.0f} ms since the client had stalled" if by_client_ms else ""
    logger.log(
        "WARNING" if share > SILENCED_SHARE else "INFO",
        "session closed: {}, {:.1f} s of audio, {:.0f} ms of it silenced ({:.1%}){}",
        outcome,
        heard_s,
        silenced_ms,
        share,
        blamed,
    )


def _auth_error(presented: str | None) -> SessionError:
    return SessionError(
        ErrorCode.AUTH_FAILED,
        "the API key is missing or wrong",
        expected="a configured key in api_key or in the header Authorization: Bearer",
        got="another key" if presented else "no key",
    )
