"""Uvicorn's WebSocket protocol, with what a voice service needs of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State

from fast_vc_service.server.sockets.codes import SocketCode
from fast_vc_service.server.sockets.paced import PacedTransport
from fast_vc_service.server.sockets.quiet import CONNECTION_LOG
from fast_vc_service.server.websocket.frame_rate import SMALL_FRAGMENT_BYTES, FrameRate
from fast_vc_service.server.websocket.frames import BoundedParser
from fast_vc_service.server.websocket.refused_input import Refusable, TooLong, TooMany

FLOODED_CLOSE_S = 1.0
"""How long a client that sends too many frames has to close; none of them is parsed any more."""


class TransportProtocol(WebSocketsSansIOProtocol):
    """The WebSocket protocol, with itself in ``scope["extensions"]["connection"]``.

    The endpoint needs it to take audio and to send it without a task, to see whether the peer
    accepts output, to say who is known, and to cut the line. A message that is refused by its
    length or its number comes to the endpoint as ``{"type": "websocket.receive", "refused": …}``.

    Attributes:
        take_now: Offered every whole binary message that no other waits in front of; True when it
            has been taken, else it goes the way of the rest. Queueing a message and waking a task
            for it, with reading paused meanwhile, costs more than converting its format.
    """

    take_now: Callable[[bytes], bool] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = CONNECTION_LOG
        self.conn: BoundedParser = BoundedParser(logger=CONNECTION_LOG)
        self._rate = FrameRate(time.monotonic())
        self._paced: PacedTransport | None = None
        self._known = self._judging = self._refused = self._flooded = False
        self._pong = b""
        self._first_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        self._paced = transport.get_extra_info("paced")

    def data_received(self, data: bytes) -> None:
        """Parse ``data``; once a client has flooded us, drop it."""
        if self._flooded:
            return
        super().data_received(data)
        bounded = self.conn.bounded
        if bounded.declared_bytes is not None and not self._refused:
            first = not self._judging and not self._known
            self._refuse(TooLong(bounded.declared_bytes, bounded.longest, first))
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            # The base class would leave the answer unsent and the line open.
            self._count(SocketCode.BAD_UPGRADE)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def resume_writing(self) -> None:
        """Send the pong that was held back."""
        super().resume_writing()
        if self._pong and not self.transport.is_closing():
            self.transport.write(self._pong)
        self._pong = b""

    # --------------------------------------------------------------- events

    def handle_connect(self, event: Request) -> None:
        """Answer the upgrade request."""
        super().handle_connect(event)
        if self._paced is not None:
            self._paced.places.asked(self._paced.place)
        if self.response.status_code == 101:
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions |= {"connection": self, "paced": self._paced}
        else:
            self._count(SocketCode.BAD_UPGRADE)

    def handle_bytes(self, event: Frame) -> None:
        """Take a binary message, or the first frame of one."""
        if (not event.fin or not event.data) and not self._affordable(event):
            return
        take_now = self.take_now
        if (
            take_now is not None
            and event.fin
            and self.queue.empty()
            and not self.close_sent
            and not self._refused
            and take_now(bytes(event.data))
        ):
            return
        super().handle_bytes(event)

    def handle_text(self, event: Frame) -> None:
        """Take a text message, or the first frame of one."""
        if self._affordable(event, at_any_size=True):
            super().handle_text(event)

    def handle_cont(self, event: Frame) -> None:
        """Take a further frame of a message."""
        if self._affordable(event):
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer a ping; of those that come while the peer reads nothing only the last."""
        pongs = self.conn.data_to_send()
        if not self._rate.take(time.monotonic()):
            self._refuse(TooMany())
        elif self.writable.is_set():
            self.transport.write(b"".join(pongs))
        elif pongs:
            self._pong = pongs[-1]

    def handle_pong(self, event: Frame) -> None:
        """Count a pong; we send no pings."""
        self._affordable(event, at_any_size=True)

    def handle_parser_exception(self) -> None:
        """Close a connection that does not speak the protocol."""
        self._count(SocketCode.BAD_FRAME)
        super().handle_parser_exception()

    def send_receive_event_to_app(self) -> None:
        """Hand a whole message on."""
        if self._refused:
            self.frames = []
            return
        if self.curr_msg_data_type == "text" and not _is_utf8(self.frames):
            self.frames = []
            if self.conn.state is State.OPEN:
                self.conn.send_close(1007)
            self.handle_parser_exception()
            return
        if not self._known:
            # Until this one is judged nothing more is read.
            self._judging = True
            self.conn.bounded.longest = self.config.ws_max_size
            self._first_bytes = sum(map(len, self.frames))
        super().send_receive_event_to_app()

    def _affordable(self, event: Frame, *, at_any_size: bool = False) -> bool:
        if self._refused:
            return False
        counts = at_any_size or len(event.data) < SMALL_FRAGMENT_BYTES
        if counts and not self._rate.take(time.monotonic()):
            self._refuse(TooMany())
            return False
        return True

    def _refuse(self, why: Refusable) -> None:
        if self._refused or self.close_sent:
            return
        self._refused = True
        self.frames = []
        if isinstance(why, TooMany):
            self._flooded = True
            self.close_timeout = FLOODED_CLOSE_S
        event = {"type": "websocket.receive", "refused": why}
        self.queue.put_nowait(cast(ASGIReceiveEvent, event))

    # --------------------------------------------------------- for the endpoint

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next event; nothing more is read before a first message is judged."""
        message = await self.queue.get()
        if self.queue.empty() and not self._judging:
            self._read_on()
        return message

    def know(self) -> None:
        """Take note that the client may have a session; read on."""
        self._known = True
        self._judging = False
        if self._paced is not None:
            self._paced.know()
        if self.queue.empty():
            self._read_on()

    def arrived_at(self) -> float:
        """Monotonic seconds at which what is being parsed has come."""
        return time.monotonic() if self._paced is None else self._paced.arrived_at

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

    def held_bytes(self) -> int:
        """Bytes that are kept of what came."""
        return self.conn.held_bytes() + self._first_bytes

    def abort(self) -> None:
        """Cut the line."""
        self.transport.abort()

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application says."""
        await super().send(message)
        if self.close_sent:
            # What follows is read until the peer closes too, and never kept.
            self.conn.bounded.longest = 0
            if self.initial_response is not None:
                # A refused upgrade is complete; the base class would log each one as an error.
                self.handshake_complete = True

    def _count(self, code: str) -> None:
        """Count a refusal of somebody of whom nothing is known."""
        if self._paced is not None and not self._known:
            self._paced.places.refuse(code)

    def _read_on(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()


def _is_utf8(frames: list[Any]) -> bool:
    try:
        b"".join(frames).decode()
    except UnicodeDecodeError:
        return False
    return True
