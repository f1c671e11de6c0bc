from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fast_vc_service.server.sockets import turns as turns_module
from fast_vc_service.server.sockets.held_bytes import HeldBytes
from fast_vc_service.server.sockets.paced import UNREAD_S, PacedTransport
from fast_vc_service.server.sockets.places import Places
from fast_vc_service.server.sockets.shared_buffer import SLICE_BYTES, SharedBuffer
from fast_vc_service.server.sockets.turns import TURN_S, Turns


class Beneath:
    """The transport of a socket in which so much waits to be read."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.reading = True
        self.closing = self.aborted = False
        self.unsent = 0
        self.paced: PacedTransport | None = None

    def deliver(self) -> bool:
        """As the loop does when the socket can be read; False when nothing was."""
        assert self.paced is not None
        if not self.reading or not self.data or self.closing:
            return False
        room = self.paced.get_buffer(-1)
        piece, self.data = self.data[: len(room)], self.data[len(room) :]
        room[: len(piece)] = piece
        self.paced.buffer_updated(len(piece))
        return True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = self.closing = True

    def close(self) -> None:
        self.closing = True


class Parser:
    """A protocol whose bytes cost a made-up time."""

    def __init__(self, loop: Loop, name: str, cost_s: float) -> None:
        self.loop = loop
        self.name = name
        self.cost_s = cost_s
        self.held = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        self.loop.now += self.cost_s * len(data)
        self.loop.parsed.append((self.name, len(data)))

    def held_bytes(self) -> int:
        return self.held


class Loop:
    """A loop that is turned by hand, with a clock that only parsing moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.parsed: list[tuple[str, int]] = []
        self.soon: list[Callable[[], None]] = []
        self.sockets: list[Beneath] = []
        self.places, self.held, self.buffer = Places(1000), HeldBytes(), SharedBuffer()
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)
        monkeypatch.setattr("time.perf_counter", lambda: self.now)
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.turns = Turns()

    def call_soon(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def connect(
        self, data: bytes = b"", *, cost_s: float = 0.0, name: str = "", known: bool = True
    ) -> Beneath:
        place = self.places.take(None, self.now)
        assert place is not None
        beneath = Beneath(data)
        beneath.paced = PacedTransport(
            lambda: Parser(self, name, cost_s),  # type: ignore[arg-type,return-value]
            place=place,
            places=self.places,
            turns=self.turns,
            held=self.held,
            buffer=self.buffer,
        )
        beneath.paced.connection_made(beneath)  # type: ignore[arg-type]
        if known:
            beneath.paced.know()
        self.sockets.append(beneath)
        return beneath

    def turn(self) -> float:
        """Go round once; returns the seconds it took."""
        began = self.now
        due, self.soon = self.soon, []
        for call in due:
            call()
        for socket in self.sockets:
            # libuv reads a socket as long as it gives and takes, up to 32 times.
            for _ in range(32):
                if not socket.deliver():
                    break
        return self.now - began


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    return Loop(monkeypatch)


MICRO = 1e-6
TINY_FRAMES_S_A_BYTE = 1.6 * MICRO
"""An empty ping has six bytes and costs ten microseconds."""


@pytest.mark.parametrize("sockets", [1, 10, 100])
def test_a_turn_is_short_however_many_flood(loop: Loop, sockets: int) -> None:
    for _ in range(sockets):
        loop.connect(bytes(1 << 20), cost_s=TINY_FRAMES_S_A_BYTE)
    turns = [loop.turn() for _ in range(300)]
    a_slice_s = SLICE_BYTES * TINY_FRAMES_S_A_BYTE
    assert max(turns) <= 2 * TURN_S + 2 * a_slice_s
    assert max(size for _, size in loop.parsed) <= SLICE_BYTES
    # After the first slice of each, slices are small enough not to exceed the time by much.
    assert max(turns[-100:]) <= 2 * TURN_S + 2 * 512 * TINY_FRAMES_S_A_BYTE


@pytest.mark.parametrize("known", [False, True])
def test_a_speaker_does_not_wait_behind_a_hundred_floods(loop: Loop, known: bool) -> None:
    for _ in range(100):
        loop.connect(bytes(1 << 20), cost_s=TINY_FRAMES_S_A_BYTE, name="flood", known=known)
    speaker = loop.connect(name="speaker", cost_s=0.2 * MICRO)
    for _ in range(300):
        loop.turn()
    for _ in range(50):
        speaker.data = bytes(640)
        waited_s = 0.0
        while ("speaker", 640) not in loop.parsed:
            waited_s += loop.turn()
        assert waited_s < 0.02
        loop.parsed.clear()


def test_floods_share_the_time(loop: Loop) -> None:
    for number in range(10):
        loop.connect(bytes(1 << 20), cost_s=TINY_FRAMES_S_A_BYTE, name=str(number))
    for _ in range(1000):
        loop.turn()
    parsed = {
        str(number): sum(size for name, size in loop.parsed if name == str(number))
        for number in range(10)
    }
    assert min(parsed.values()) > 0.5 * max(parsed.values())


def test_everything_is_parsed_once_and_in_order(loop: Loop) -> None:
    content = bytes(range(256)) * 400
    heard = bytearray()
    socket = loop.connect(content, cost_s=TINY_FRAMES_S_A_BYTE)
    assert socket.paced is not None
    parser = socket.paced.get_protocol()
    parse = parser.data_received  # type: ignore[attr-defined]

    def hear(data: bytes) -> None:
        heard.extend(data)
        parse(data)
        if len(loop.parsed) % 3 == 0:
            socket.paced.pause_reading()  # type: ignore[union-attr]
            loop.call_soon(socket.paced.resume_reading)  # type: ignore[union-attr]

    parser.data_received = hear  # type: ignore[attr-defined]
    for _ in range(3000):
        loop.turn()
    assert bytes(heard) == content


def test_large_pieces_that_cost_little_stay_large(loop: Loop) -> None:
    loop.connect(bytes(1 << 20), cost_s=0.001 * MICRO)
    for _ in range(300):
        loop.turn()
    assert {size for _, size in loop.parsed} == {SLICE_BYTES}


def test_bytes_are_stamped_when_they_come_not_when_they_are_parsed(loop: Loop) -> None:
    loop.connect(bytes(1 << 20), cost_s=TINY_FRAMES_S_A_BYTE, name="flood")
    loop.turn()
    speaker = loop.connect(bytes(640), name="speaker")
    came_at = loop.now
    assert not loop.turns.has_time()
    speaker.deliver()
    while ("speaker", 640) not in loop.parsed:
        loop.turn()
    assert speaker.paced is not None
    assert speaker.paced.arrived_at == came_at
    assert loop.now > came_at


def test_requests_begin_a_few_a_turn(loop: Loop) -> None:
    begun: list[int] = []
    for number in range(20):
        loop.turns.start(lambda number=number: begun.append(number))  # type: ignore[misc]
    most = 0
    while len(begun) < 20:
        before = len(begun)
        loop.turn()
        most = max(most, len(begun) - before)
    assert most == turns_module.STARTS_A_TURN
    assert begun == list(range(20))


def test_who_says_nothing_or_reads_nothing_is_cut_off(loop: Loop) -> None:
    silent, unread, speaking = (loop.connect(known=False) for _ in range(3))
    for socket in (unread, speaking):
        assert socket.paced is not None
        loop.places.asked(socket.paced.place)
    assert unread.paced is not None
    unread.paced._upper.pause_writing = lambda: None  # type: ignore[method-assign]
    unread.paced.pause_writing()
    for now, expected in ((9.0, []), (10.5, [silent, unread])):
        for place in loop.places:
            socket = next(each for each in loop.sockets if each.paced.place is place)  # type: ignore[union-attr]
            socket.paced.check(now)  # type: ignore[union-attr]
        assert [each for each in loop.sockets if each.aborted] == expected
    assert UNREAD_S == 10.0


def test_who_has_kept_too_much_is_not_read(loop: Loop) -> None:
    loop.held = HeldBytes(100_000)
    greedy = loop.connect(bytes(1 << 20), known=False)
    assert greedy.paced is not None
    parser = greedy.paced.get_protocol()

    def keep(data: bytes) -> None:
        parser.held += len(data)  # type: ignore[attr-defined]

    parser.data_received = keep  # type: ignore[attr-defined]
    for _ in range(100):
        loop.turn()
    assert parser.held <= 100_000  # type: ignore[attr-defined]
    assert not greedy.reading
    small = loop.connect(bytes(1000), known=False)
    loop.turn()
    loop.turn()
    assert not small.data
    greedy.paced.know()
    loop.turn()
    assert greedy.reading
