"""What hostile clients do to a real service, in short: who floods is stopped, others go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from service import RunningService, launch
from websockets.exceptions import InvalidStatus

from benchmarks.attacks import KINDS, UPGRADE, Attack, Stage, frame, text
from benchmarks.raw_sessions import frames
from waiting import until

KEY, ADMIN = "a-right-key-0123456789", "an-admin-key-0123456789"
KEYS = json.dumps([{"name": "one", "key": KEY}, {"name": "root", "key": ADMIN, "admin": True}])
PLACES = 40
CLOSE, TEXT = 8, 1


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    service = launch(
        tmp_path_factory.mktemp("floods"),
        "--engine",
        "passthrough",
        api_keys=KEYS,
        max_sessions=8,
        max_connections=PLACES,
        late_ms=20_000,
    )
    service.wait_until("ready")
    yield service
    service.stop()


class Raw:
    """A WebSocket on a bare socket."""

    def __init__(self, service: RunningService, stage: Stage = "socket") -> None:
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=30)
        self._buffer = bytearray()
        if stage != "socket":
            self.socket.sendall(UPGRADE)
            while b"\r\n\r\n" not in self._buffer:
                self._buffer += self.socket.recv(4096)
            del self._buffer[: self._buffer.index(b"\r\n\r\n") + 4]
        if stage == "session":
            self.socket.sendall(text(type="config", api_key=KEY))
            assert self.hear()["type"] == "ready"

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send as much as the server takes."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Frames until the server closes."""
        while True:
            yield from frames(self._buffer)
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return
            if not data:
                return
            self._buffer += data

    def hear(self) -> dict[str, Any]:
        """The next text message."""
        message: dict[str, Any] = json.loads(next(data for code, data in self.read() if code == 1))
        return message

    def last_words(self) -> tuple[dict[str, Any], int]:
        """The last text message, and the close code."""
        said: dict[str, Any] = {}
        for opcode, data in self.read():
            if opcode == TEXT:
                said = json.loads(data)
            elif opcode == CLOSE:
                return said, int.from_bytes(data[:2], "big")
        return said, 1006


def log_of(service: RunningService) -> str:
    return "".join(path.read_text() for path in (service.home / "logs").glob("*.log"))


def metric(service: RunningService, code: str) -> float:
    text = service.get("/metrics", Authorization=f"Bearer {ADMIN}")[1]
    (line,) = (line for line in text.splitlines() if f'refused_total{{code="{code}"}}' in line)
    return float(line.split()[-1])


def has_a_session(service: RunningService) -> bool:
    with Raw(service, "session") as raw:
        raw.send(text(type="end"))
        return raw.last_words()[1] == 1000


FLOODS: dict[str, bytes] = {
    "pings": frame(9),
    "pings with payload": frame(9, b"x" * 100),
    "pongs": frame(10),
    "empty audio": frame(2),
    "texts": text(),
    "no JSON": frame(1, b"\xc3\xa9"),
    "markers": text(type="marker", id=1),
    "updates": text(type="update", pitch_shift=1),
    "mixed": frame(9) + frame(10) + frame(2) + text(),
    "text fragments": frame(1, b"{", fin=False) + frame(0, b"}"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_frames_without_audio_beyond_a_rate_close(service: RunningService, name: str) -> None:
    with Raw(service, "session") as raw:
        raw.send(FLOODS[name] * 4000)
        said, code = raw.last_words()
    assert (said["error_code"], code) == ("RATE_LIMITED", 4420)
    assert has_a_session(service)


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0" * 100])
@pytest.mark.parametrize("opcode", [1, 2])
def test_small_fragments_beyond_a_rate_close(
    service: RunningService, payload: bytes, opcode: int
) -> None:
    with Raw(service, "session") as raw:
        raw.send(frame(opcode, b"  ", fin=False) + frame(0, payload, fin=False) * 4000)
        said, code = raw.last_words()
    assert (said["error_code"], code) == ("RATE_LIMITED", 4420)


@pytest.mark.parametrize("name", ["pings", "pongs", "empty fragments", "one-byte fragments"])
def test_the_rate_holds_before_authentication(service: RunningService, name: str) -> None:
    data = {
        "pings": frame(9) * 4000,
        "pongs": frame(10) * 4000,
        "empty fragments": frame(1, fin=False) + frame(0, fin=False) * 4000,
        "one-byte fragments": frame(1, fin=False) + frame(0, b" ", fin=False) * 4000,
    }[name]
    with Raw(service, "upgraded") as raw:
        raw.send(data)
        said, code = raw.last_words()
    assert (said["error_code"], code) == ("RATE_LIMITED", 4420)


def test_audio_is_only_ever_paced(service: RunningService) -> None:
    with Raw(service, "upgraded") as raw:
        raw.send(text(type="config", api_key=KEY, realtime=False))
        assert raw.hear()["type"] == "ready"
        raw.send(frame(2, b"\0") * 6000 + frame(2, b"\0" * 1500) * 3000 + text(type="end"))
        said, code = raw.last_words()
    assert (said["type"], code) == ("complete", 1000)
    assert said["stats"]["received_ms"] == pytest.approx((6000 + 3000 * 1500) / 32)


def test_large_fragments_of_audio_are_only_paced(service: RunningService) -> None:
    message = frame(2, bytes(1024), fin=False) + frame(0, bytes(1024), fin=False) * 1000
    with Raw(service, "upgraded") as raw:
        raw.send(text(type="config", api_key=KEY, realtime=False))
        assert raw.hear()["type"] == "ready"
        raw.send((message + frame(0)) * 2 + text(type="end"))
        said, code = raw.last_words()
    assert (said["type"], code) == ("complete", 1000)
    assert said["stats"]["received_ms"] == pytest.approx(2 * 1001 * 1024 / 32)


@pytest.mark.parametrize("fragmented", [False, True])
@pytest.mark.parametrize("opcode", [1, 2])
def test_a_message_is_refused_by_the_length_that_it_declares(
    service: RunningService, opcode: int, fragmented: bool
) -> None:
    data = frame(opcode, declared=1 << 40)
    if fragmented:
        data = frame(opcode, b" " * 2000, fin=False) + frame(0, declared=(1 << 20) - 1999)
    with Raw(service, "session") as raw:
        raw.send(data)
        said, code = raw.last_words()
    assert (said["error_code"], code) == ("INVALID_AUDIO", 4415)
    declared = (1 << 20) + 1 if fragmented else 1 << 40
    assert said["details"]["got"] == f"{declared} bytes"


@pytest.mark.parametrize("opcode", [1, 2])
def test_a_first_message_is_refused_by_the_length_that_it_declares(
    service: RunningService, opcode: int
) -> None:
    with Raw(service, "upgraded") as raw:
        raw.send(frame(opcode, declared=64 * 1024 + 1))
        said, code = raw.last_words()
    assert (said["error_code"], code) == ("INVALID_CONFIG", 4400)
    with Raw(service, "upgraded") as raw:
        config = text(type="config", api_key=KEY)[6:]
        raw.send(frame(1, json.dumps({"type": "config", "api_key": KEY}).ljust(65_536).encode()))
        assert raw.hear()["type"] == "ready", config


def test_what_follows_a_message_too_large_is_skipped_and_the_close_is_heard(
    service: RunningService,
) -> None:
    with Raw(service, "session") as raw:
        raw.send(frame(2, bytes((1 << 20) + 1)) + frame(2, bytes(100)) * 20 + frame(8, b"\x03\xe8"))
        said, code = raw.last_words()
        assert (said["error_code"], code) == ("INVALID_AUDIO", 4415)
        # The close handshake is complete: the server does not wait for anything more.
        assert list(raw.read()) == []


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nx: " + b"x" * 200_000,
        b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 129 + b"Host: localhost\r\n\r\n",
        b"GET /" + b"x" * 200_000,
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 100_000,
        b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\nx\r\n0\r\n" + b"a: b\r\n" * 50_000,
        b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1;" + b"x" * 200_000,
    ],
    ids=["value", "number", "path", "headers", "trailers", "chunk extension"],
)
def test_heads_are_bounded(service: RunningService, head: bytes) -> None:
    with Raw(service) as raw:
        raw.send(head)
        answer = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while data := raw.socket.recv(1 << 16):
                answer += data
    assert b" 431 " in answer or b" 404 " in answer or not answer
    assert service.get("/health")[0] == 200


def test_an_upgrade_with_a_header_too_long_is_answered_and_closed(service: RunningService) -> None:
    with Raw(service) as raw:
        raw.send(UPGRADE[:-2] + b"x: " + b"x" * 20_000 + b"\r\n\r\n")
        assert raw.socket.recv(4096).startswith(b"HTTP/1.1 431")
        assert raw.socket.recv(4096) == b""


@pytest.mark.parametrize("stage", ["socket", "upgraded"])
@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: lo"])
def test_sockets_that_wait_keep_nobody_out(
    service: RunningService, stage: Stage, said: bytes
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3 * PLACES):
            with contextlib.suppress(OSError):
                raw = stack.enter_context(Raw(service, stage))
                if stage == "socket":
                    raw.send(said)
        assert service.get("/health")[0] == 200
        assert has_a_session(service)
        assert service.get("/voices", Authorization=f"Bearer {KEY}")[0] == 200
    assert metric(service, "PLACE_LOST") > 0


def test_open_sessions_do_not_go_for_others(service: RunningService) -> None:
    with contextlib.ExitStack() as stack:
        speakers = [stack.enter_context(Raw(service, "session")) for _ in range(4)]
        for _ in range(3 * PLACES):
            stack.enter_context(Raw(service))
        for speaker in speakers:
            speaker.send(frame(2, bytes(640)) * 10 + text(type="end"))
            assert speaker.last_words()[1] == 1000


def test_a_right_key_passes_however_many_wrong_ones_wait(
    launch_service: Callable[..., RunningService],
) -> None:
    service = launch_service(api_keys=KEYS, auth_failure_delay_ms=10_000, max_connections=300)
    service.wait_until("ready")
    wrong = text(type="config", api_key="a-wrong-key")
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(Raw(service, "upgraded")) for _ in range(150)]
        for raw in waiting:
            raw.send(wrong)
        asking = [stack.enter_context(Raw(service)) for _ in range(50)]
        for raw in asking:
            raw.send(
                b"GET /voices HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\n\r\n"
            )
        assert has_a_session(service)
        assert service.get("/voices", Authorization=f"Bearer {KEY}")[0] == 200
        for raw in (*waiting, *asking):
            raw.socket.setblocking(False)
            with pytest.raises(BlockingIOError):
                raw.socket.recv(1)


def test_few_descriptors_do_not_end_it(tmp_path: Path) -> None:
    limited = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256));"
        "runpy.run_module('fast_vc_service', run_name='__main__')"
    )
    service = launch(tmp_path, "--engine", "passthrough", program=("-c", limited))
    try:
        service.wait_until("ready")
        assert "256 files may be open" in log_of(service)
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(Raw(service))
            assert service.get("/health")[0] == 200
        service.stop()
    finally:
        service.process.kill()
        service.process.wait()


def test_an_unknown_socket_path_is_told_the_right_one(service: RunningService) -> None:
    with pytest.raises(InvalidStatus) as caught, service.connect("/websocket"):
        pass
    response = caught.value.response
    assert response.status_code == 404
    assert json.loads(response.body)["details"]["hint"] == "connect to /ws"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


SECRET = "a-secret-that-nobody-may-read"


def test_queries_and_keys_are_never_logged(launch_service: Callable[..., RunningService]) -> None:
    service = launch_service(api_keys=KEYS, log_level="TRACE", auth_failure_delay_ms=0)
    service.wait_until("ready")
    heads = [
        UPGRADE.replace(b"/ws", f"/ws?api_key={SECRET}".encode()),
        UPGRADE.replace(b"/ws", f"/other?x={SECRET}".encode()),
        UPGRADE.replace(b"localhost", f"{SECRET}.example".encode()),
        UPGRADE.replace(b"13", SECRET.encode()),
        UPGRADE.replace(b"websocket", SECRET.encode()),
        f"GET /voices?key={SECRET} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
        f"GET /{SECRET} HTTP/1.1\r\nHost: localhost\r\nCookie: {SECRET}\r\n\r\n".encode(),
        f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {SECRET}\r\n\r\n".encode(),
        f"{SECRET} / nothing\r\n\r\n".encode(),
    ]
    for head in heads:
        with Raw(service) as raw:
            raw.send(head)
            raw.socket.recv(1 << 16)
    for said in (
        text(type="config", api_key=SECRET),
        frame(1, SECRET.encode()),
        frame(1, SECRET.encode() + b"\xff"),
        frame(3, SECRET.encode()),
        frame(8, b"\x03\xe8" + SECRET.encode()),
        frame(9, SECRET.encode()) * 1200,
    ):
        with Raw(service, "upgraded") as raw:
            raw.send(said)
            raw.last_words()
    service.stop()
    for written in (log_of(service), service.output()):
        assert SECRET not in written
        assert KEY not in written


def test_what_is_refused_costs_a_line_and_is_counted(
    launch_service: Callable[..., RunningService],
) -> None:
    service = launch_service(api_keys=KEYS, auth_failure_delay_ms=0)
    service.wait_until("ready")
    before = len(log_of(service))
    kinds = {
        "BAD_REQUEST": b"\x16\x03\x01" * 40 + b"\r\n\r\n",
        "NOT_FOUND": UPGRADE.replace(b"/ws", b"/no?" + b"x" * 4000),
        "FORBIDDEN_HOST": UPGRADE.replace(b"localhost", b"x" * 4000),
        "BAD_UPGRADE": UPGRADE.replace(b"13", b"12"),
    }
    for head in kinds.values():
        for _ in range(30):
            with Raw(service) as raw:
                raw.send(head)
                raw.socket.recv(1 << 16)
    for _ in range(30):
        with Raw(service, "upgraded") as raw:
            raw.send(frame(1, b"\xff\xfe"))
            assert raw.last_words()[1] == 1007
        with Raw(service, "upgraded") as raw:
            raw.send(text(type="config", api_key="wrong"))
            assert raw.last_words()[1] == 4401
    for code in (*kinds, "BAD_FRAME", "AUTH_FAILED"):
        assert metric(service, code) == 30
    written = log_of(service)[before:]
    assert "Traceback" not in written
    lines = [line for line in written.splitlines() if "refused" in line]
    assert len(lines) == 6
    assert len(written) < 6 * 200


@pytest.mark.parametrize(
    ("kind", "stage"),
    [(name, stage) for name, kind in KINDS.items() for stage in kind.stages if not kind.tls],
)
@pytest.mark.slow
def test_nobody_is_stopped_by_a_kind_of_attack(
    service: RunningService, kind: str, stage: Stage
) -> None:
    memory = psutil.Process(service.process.pid).memory_full_info
    before = memory().pss

    async def attack() -> None:
        await Attack(service.port, kind, stage, 10, KEY, 2.0).attack()

    with Raw(service, "session") as speaker:
        asyncio.run(attack())
        speaker.send(frame(2, bytes(640)) * 10 + text(type="end"))
        said, code = speaker.last_words()
    assert (said["type"], code) == ("complete", 1000)
    assert service.get("/health")[0] == 200
    assert memory().pss - before < 64 * 2**20
    until(lambda: service.get("/health")[1]["sessions"]["live"] == 0)
    assert has_a_session(service)
