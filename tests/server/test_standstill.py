"""Time in which the process stood still is told, and counts for no time limit."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.requests import Request
from starlette.types import Message

from fast_vc_service.process.scratch import ScratchFolder
from fast_vc_service.process.tls import self_signed
from fast_vc_service.server import standstill
from fast_vc_service.server.http import uploads
from fast_vc_service.server.service import EdgeLimits
from fast_vc_service.server.sockets.codes import SocketCode
from fast_vc_service.server.sockets.listener import Listener
from fast_vc_service.server.sockets.places import Places
from fast_vc_service.server.sockets.turns import Turns
from fast_vc_service.server.standstill import MachineSleep, Standstill, is_done_within
from fast_vc_service.server.websocket.time_limits import Watch
from waiting import spend_async, until_async


def test_what_comes_late_on_a_busy_machine_is_no_standstill() -> None:
    now = 100.0
    watched = Standstill(0.5, clock=lambda: now)
    told = []
    for gap in (0.5, 0.6, 1.4, 600.5, 0.5):
        now += gap
        told.append(watched.passed_s())
    assert told == [0.0, 0.0, 0.0, pytest.approx(600.0), 0.0]


def test_a_sleep_of_the_machine_is_seen_by_the_clock_that_goes_on() -> None:
    asleep = iter([5.0, 5.0, 605.0, 605.0])
    sleep = MachineSleep(lambda: next(asleep))
    assert [sleep.passed_s() for _ in range(3)] == [0.0, pytest.approx(600.0), 0.0]


def test_ten_minutes_of_standing_still_end_no_session() -> None:
    unsent = 100
    watch = Watch(
        EdgeLimits(idle_timeout_s=120, max_session_s=300, slow_reader_s=10), lambda: unsent
    )
    watch.opened(0.0)
    watch.written_bytes = 100
    watch.sends(50.0)
    assert watch.overdue(700.0, paced=False) is not None
    watch.stood_still(600.0)
    assert watch.overdue(700.0, paced=False) is None
    assert not watch.peer_is_stuck(655.0)
    assert watch.overdue(721.0, paced=False) is not None, "it counts from then on"
    assert watch.peer_is_stuck(661.0)


def test_waiting_does_not_count_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every look at the clock finds that ten minutes have passed.
    clock = itertools.count(0, 600)
    monkeypatch.setattr(standstill.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(standstill, "SLICE_S", 0.001)
    monkeypatch.setattr(standstill, "TOLERANCE_S", 0.0)
    waits = 0

    async def wait() -> bool:
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        real = asyncio.wait

        async def counted(*arguments, **more):  # noqa: ANN002, ANN003, ANN202
            nonlocal waits
            waits += 1
            return await real(*arguments, **more)

        monkeypatch.setattr(standstill.asyncio, "wait", counted)
        return await is_done_within(never, 0.01)

    assert asyncio.run(wait()) is False
    assert 9 <= waits <= 11


def test_what_is_done_is_seen_at_once() -> None:
    async def wait() -> bool:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(done.set_result, None)
        return await is_done_within(done, 3600)

    assert asyncio.run(wait()) is True


def test_a_head_that_was_begun_before_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []
    places = Places(on_refused=refused.append)
    place = places.take("192.168.1.9", 0.0)
    assert place is not None
    assert place.deadline == 10.0
    from fast_vc_service.server.sockets.paced import PacedTransport

    transport = PacedTransport.__new__(PacedTransport)
    transport.place, transport._unread_since = place, 3.0
    transport.shift(600.0)
    assert place.deadline == 610.0
    assert transport._unread_since == 603.0


def test_an_upload_that_the_standstill_interrupts_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # To the clock all this takes no time at all.
    monkeypatch.setattr(standstill, "time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr(standstill, "SLICE_S", 0.001)
    monkeypatch.setattr(uploads, "STALLED_S", 0.01)
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    pieces = [head + b"half", b" and half\r\n--x--\r\n"]

    async def receive() -> Message:
        await spend_async(0.1)
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)

    async def upload() -> bytes:
        async with uploads.receive_upload(
            request,
            file_field="file",
            fields=frozenset(),
            max_bytes=1000,
            scratch=ScratchFolder(tmp_path),
        ) as received:
            return received.path.read_bytes()

    assert asyncio.run(upload()) == b"half and half"


def test_a_tls_handshake_that_the_standstill_interrupts_goes_on(tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*self_signed(tmp_path, "127.0.0.1", 1))
    refused: list[str] = []
    places = Places(on_refused=refused.append)

    async def handshake() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listener = Listener(
                listening, asyncio.Protocol, places=places, turns=Turns(lambda _s: None), tls=tls
            )
            with socket.create_connection(listening.getsockname()) as client:
                client.setblocking(False)
                await until_async(lambda: len(places) == 1)
                (place,) = places
                begun = time.monotonic()
                place.shift(600.0)
                place.check(begun + 605.0)
                await spend_async(0.0)
                assert len(places) == 1
                place.check(begun + 620.0)
                await until_async(lambda: not len(places))
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
            listener.close()
            await listener.wait_closed()

    asyncio.run(handshake())
    assert refused == [SocketCode.TLS_FAILED]
