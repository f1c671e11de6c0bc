"""Between a socket and its protocol: small slices, in turn, and nothing kept beyond the budgets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from loguru import logger

from fast_vc_service.server.sockets.codes import SocketCode
from fast_vc_service.server.sockets.held_bytes import HeldBytes
from fast_vc_service.server.sockets.places import Place, Places
from fast_vc_service.server.sockets.shared_buffer import DENSE_SLICE_BYTES, SharedBuffer
from fast_vc_service.server.sockets.turns import Turns

_DENSE_S, _LIGHT_S = 0.5e-3, 0.05e-3
_HALF_LIFE_S = 0.5
UNKNOWN_COST_S = 0.05
"""What an unknown socket is taken to have cost before it has cost anything."""

UNREAD_S = 10.0
"""How long a peer may accept nothing of what an unknown, or a closing, socket has to send."""


class Upper(Protocol):
    """A protocol of ours, as this transport needs it."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """See :class:`asyncio.Protocol`."""
        ...

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        ...

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        ...

    def eof_received(self) -> bool | None:
        """See :class:`asyncio.Protocol`."""
        ...

    def pause_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        ...

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        ...

    def held_bytes(self) -> int:
        """Bytes that it keeps of what it was given."""
        ...


class PacedTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """A protocol to the socket beneath, the transport to the protocol above.

    Args:
        make: Makes the protocol above.
        place: The socket's.
        places: All of them.
        turns: Those of the loop.
        held: The budget of bytes.
        buffer: What the socket is read to.

    Attributes:
        place: As given.
        places: As given.
        turns: As given.
        arrived_at: Monotonic seconds at which the bytes came that are being parsed.
    """

    def __init__(
        self,
        make: Callable[[], asyncio.BaseProtocol],
        *,
        place: Place,
        places: Places,
        turns: Turns,
        held: HeldBytes,
        buffer: SharedBuffer,
    ) -> None:
        super().__init__()
        self.place = place
        self.places = places
        self.turns = turns
        self.arrived_at = 0.0
        self._held = held
        self._buffer = buffer
        self._upper = cast(Upper, make())
        self._beneath: asyncio.Transport
        self._kept = b""
        self._paused = self._starved = False
        self._dense = False
        self._cost_s = self._cost_at = 0.0
        self._unread_since: float | None = None

    # ----------------------------------------------------- from the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # uvloop's transports are asyncio's by behaviour only.
        self._beneath = cast(asyncio.Transport, transport)
        self.place.drop = self.abort
        self.place.check, self.place.shift = self.check, self.shift
        self._upper.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._kept = b""
        self._held.hold(self.place, 0)
        self.places.leave(self.place)
        self._upper.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Say where the next bytes are to go."""
        return self._buffer.piece(dense=self._dense)

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what has come, or have it wait for its turn."""
        self.arrived_at = time.monotonic()
        data = self._buffer.take(nbytes)
        if not self._kept and not self._paused and self.turns.has_time():
            self._parse(data)
            return
        self._kept += data
        if not self._paused:
            self._wait()
        self._set_reading()

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._upper.eof_received()

    def pause_writing(self) -> None:
        """Pass it on, and note since when."""
        self._unread_since = time.monotonic()
        self._upper.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._unread_since = None
        self._upper.resume_writing()

    # ------------------------------------------------------ from the turns

    def go_on(self) -> None:
        """Parse what waits."""
        if self._kept and not self._paused and not self._beneath.is_closing():
            data, self._kept = self._kept, b""
            self._parse(data)
            self._set_reading()

    def check(self, now: float) -> None:
        """Cut the line of one that does not say what it wants, or does not read the answer."""
        since = self._unread_since
        if self.place.is_late(now):
            self.places.refuse(SocketCode.HEAD_TIMEOUT)
            self.abort()
            return
        may_be_cut = not self.place.known or self._beneath.is_closing()
        if may_be_cut and since is not None and now - since > UNREAD_S:
            self.places.refuse(SocketCode.UNREAD)
            self.abort()

    def _parse(self, data: bytes) -> None:
        started = time.perf_counter()
        try:
            self._upper.data_received(data)
        except Exception:
            logger.exception("fault while parsing")
            self.abort()
        spent_s = time.perf_counter() - started
        self.turns.spent_s += spent_s
        self._cost_s = self._cost() + spent_s
        if spent_s > _DENSE_S:
            self._dense = True
        elif self._dense and len(data) == DENSE_SLICE_BYTES and spent_s < _LIGHT_S:
            self._dense = False
        if not self.place.known:
            self._count_held()

    def _cost(self) -> float:
        """Seconds this socket has cost lately."""
        elapsed_s = self.arrived_at - self._cost_at
        self._cost_at = self.arrived_at
        self._cost_s *= 0.5 ** (elapsed_s / _HALF_LIFE_S)
        return self._cost_s

    def _wait(self) -> None:
        self.turns.wait(self, self._cost() + (0.0 if self.place.known else UNKNOWN_COST_S))

    def _count_held(self) -> None:
        unsent = self._beneath.get_write_buffer_size()
        self._held.hold(self.place, self._upper.held_bytes() + unsent + len(self._kept))
        if not self._starved and not self._held.has_room(self.place):
            self._starved = True
            self._held.wait(self._look_again)
            self._set_reading()

    def _look_again(self) -> None:
        self._starved = False
        if not self._beneath.is_closing():
            self._count_held()
            self._set_reading()

    def _set_reading(self) -> None:
        if self._beneath.is_closing():
            return
        if self._kept or self._paused or self._starved:
            self._beneath.pause_reading()
        else:
            self._beneath.resume_reading()

    # -------------------------------------------------- from the protocol above

    def know(self) -> None:
        """Take note that the peer has shown a key, or opened a session."""
        self.places.know(self.place)
        self._held.hold(self.place, 0)
        if self._starved:
            self._look_again()

    def forget(self) -> None:
        """Know nothing of the peer any more: its request has been answered."""
        self.places.forget(self.place)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Speak another protocol from now on."""
        self._upper = cast(Upper, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol above."""
        return cast(asyncio.BaseProtocol, self._upper)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the socket; ``paced`` is this transport."""
        return self if name == "paced" else self._beneath.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Parse nothing for a while."""
        self._paused = True
        self._set_reading()

    def resume_reading(self) -> None:
        """Parse again."""
        if self._paused:
            self._paused = False
            if self._kept:
                self._wait()
            self._set_reading()

    def is_reading(self) -> bool:
        """Whether more is read."""
        return self._beneath.is_reading()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        self._beneath.write(data)
        if not self.place.known:
            self._count_held()

    def get_write_buffer_size(self) -> int:
        """Bytes that the peer has not accepted yet."""
        return self._beneath.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say when writing is to pause."""
        self._beneath.set_write_buffer_limits(high, low)

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._beneath.is_closing()

    def shift(self, seconds: float) -> None:
        """Count ``seconds`` for nothing: the process stood still."""
        self.place.put_off(seconds)
        if self._unread_since is not None:
            self._unread_since += seconds

    def close(self) -> None:
        """Close it when what is written has been sent."""
        if self._unread_since is None:
            self._unread_since = time.monotonic()
        self.place.deadline = None
        self._beneath.close()

    def abort(self) -> None:
        """Cut the line."""
        self._beneath.abort()
