"""What hostile clients send, kind by kind, for the benchmark and for the tests of the service.

A kind is what one connection does, over and over, until its time is up or the server has closed;
then it connects again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["socket", "upgraded", "session"]
"""How far a connection goes before it attacks: TCP (and TLS), the upgrade, or an open session."""

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_CHUNK_BYTES = 256 * 1024
_CONNECT_S = 10.0


@dataclass
class Line:
    """One hostile connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    key: str

    async def send(self, data: bytes) -> None:
        """Send, as fast as the server takes it.

        Raises:
            OSError: The server has closed.
        """
        self.writer.write(data)
        await self.writer.drain()
        if self.reader.at_eof():
            raise ConnectionResetError

    async def wait(self) -> None:
        """Do nothing until the server closes."""
        while await self.reader.read(_CHUNK_BYTES):
            pass
        raise ConnectionResetError


@dataclass(frozen=True)
class Kind:
    """What one connection does.

    Attributes:
        stages: Where it is tried.
        attack: Does it once; called again and again.
        reads: Whether what the server sends is read beside it.
        tls: Whether it needs a server with TLS.
    """

    stages: tuple[Stage, ...]
    attack: Callable[[Line], Awaitable[None]]
    reads: bool = True
    tls: bool = False


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, declared: int = -1) -> bytes:
    """Return a client's frame whose mask is zero; ``declared`` is its length if it lies."""
    size = len(payload) if declared < 0 else declared
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def text(**message: object) -> bytes:
    """Return a text message of JSON."""
    return frame(1, json.dumps(message).encode())


def again_and_again(data: bytes) -> Callable[[Line], Awaitable[None]]:
    """Return an attack that sends ``data`` as often as fits into a large write."""
    chunk = data * max(1, _CHUNK_BYTES // len(data))

    async def attack(line: Line) -> None:
        await line.send(chunk)

    return attack


def once(data: bytes) -> Callable[[Line], Awaitable[None]]:
    """Return an attack that sends ``data`` and then holds the line."""

    async def attack(line: Line) -> None:
        await line.send(data)
        await line.wait()

    return attack


def then_closes(data: bytes) -> Callable[[Line], Awaitable[None]]:
    """Return an attack that sends ``data``, waits for an answer and closes."""

    async def attack(line: Line) -> None:
        if data:
            await line.send(data)
            await line.reader.read(_CHUNK_BYTES)
        raise ConnectionResetError

    return attack


def _fragments(payload: bytes) -> Callable[[Line], Awaitable[None]]:
    data = frame(2, b"\0\0", fin=False) + frame(0, payload, fin=False) * 100_000

    async def attack(line: Line) -> None:
        await line.send(data)

    return attack


async def _updates(line: Line) -> None:
    await line.send(b"".join(text(type="update", pitch_shift=n % 24) for n in range(4000)))


async def _requests(line: Line, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {line.key}\r\n\r\n"
    await line.send(head.encode() * 64)


def _pipelined(path: str) -> Callable[[Line], Awaitable[None]]:
    async def attack(line: Line) -> None:
        await _requests(line, path)

    return attack


WS: tuple[Stage, ...] = ("upgraded", "session")

KINDS: dict[str, Kind] = {
    "pings": Kind(WS, again_and_again(frame(9))),
    "unread pings": Kind(WS, again_and_again(frame(9, b"x" * 125)), reads=False),
    "pongs": Kind(WS, again_and_again(frame(10))),
    "empty fragments": Kind(WS, _fragments(b"")),
    "one-byte fragments": Kind(WS, _fragments(b"\0")),
    "one-byte audio": Kind(("session",), again_and_again(frame(2, b"\0"))),
    "empty audio": Kind(WS, again_and_again(frame(2))),
    "texts": Kind(WS, again_and_again(text())),
    "long texts": Kind(("session",), again_and_again(frame(1, b"[" * 60_000))),
    "markers": Kind(("session",), again_and_again(text(type="marker", id=1))),
    "updates": Kind(("session",), _updates),
    "large audio": Kind(("session",), again_and_again(frame(2, bytes(1 << 20)))),
    "too large": Kind(WS, again_and_again(frame(2, bytes(60_000), declared=1 << 40))),
    "bad UTF-8": Kind(WS, once(frame(1, b"\xff\xfe")), reads=False),
    "bad frames": Kind(WS, once(b"\xff" * 100), reads=False),
    "unfinished first message": Kind(
        ("upgraded",), once(frame(1, b" " * 60_000, declared=60_001)), reads=False
    ),
    "wrong keys": Kind(("upgraded",), once(text(type="config", api_key="wrong")), reads=False),
    "silent": Kind(("socket", "upgraded"), once(b""), reads=False),
    "half a request": Kind(("socket",), once(b"GET / HTTP/1.1\r\nHost: lo"), reads=False),
    "endless head": Kind(("socket",), again_and_again(b"GET / HTTP/1.1\r\nx: " + b"x" * 60_000)),
    "endless headers": Kind(("socket",), again_and_again(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 9)),
    "no HTTP": Kind(("socket",), once(b"\x16\x03\x01" * 40), reads=False),
    "/metrics": Kind(("socket",), _pipelined("/metrics")),
    "/voices": Kind(("socket",), _pipelined("/voices")),
    "/openapi.json": Kind(("socket",), _pipelined("/openapi.json"), reads=False),
    "/health": Kind(("socket",), _pipelined("/health")),
    "connect and close": Kind(("socket",), then_closes(b""), reads=False),
    "refused upgrades": Kind(
        ("socket",), then_closes(UPGRADE.replace(b"/ws", b"/no?" + b"x" * 4000)), reads=False
    ),
    "TLS handshakes": Kind(("socket",), then_closes(b""), reads=False, tls=True),
}


async def connect(port: int, stage: Stage, key: str, tls: ssl.SSLContext | None = None) -> Line:
    """Open a connection and bring it to ``stage``.

    Raises:
        OSError: The server has closed.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    line = Line(reader, writer, key)
    if stage != "socket":
        await line.send(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
    if stage == "session":
        await line.send(text(type="config", api_key=key, realtime=False))
        await reader.readexactly(2)
    return line


def anyones_certificate() -> ssl.SSLContext:
    """Return a context for servers whose certificate nobody has signed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@dataclass(frozen=True)
class Attack:
    """Many connections of one kind.

    Attributes:
        port: The server's.
        kind: A name of :data:`KINDS`.
        stage: How far a connection goes before it attacks.
        connections: How many there are at a time.
        key: A right key.
        seconds: How long it lasts.
    """

    port: int
    kind: str
    stage: Stage
    connections: int
    key: str
    seconds: float

    def run(self) -> None:
        """Attack from this process, which gives way to all others."""
        os.nice(19)
        asyncio.run(self.attack())

    async def attack(self) -> None:
        """Attack from this event loop."""
        until_s = asyncio.get_running_loop().time() + self.seconds
        await asyncio.gather(*(self._one(until_s) for _ in range(self.connections)))

    async def _one(self, until_s: float) -> None:
        """Attack with one connection after the other."""
        loop = asyncio.get_running_loop()
        while loop.time() < until_s:
            with contextlib.suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_CONNECT_S):
                    line = await connect(self.port, self.stage, self.key, self._tls())
                try:
                    async with asyncio.timeout_at(until_s):
                        await self._on(line)
                finally:
                    line.writer.transport.abort()
            await asyncio.sleep(0)

    async def _on(self, line: Line) -> None:
        kind = KINDS[self.kind]
        draining = asyncio.create_task(_drain(line)) if kind.reads else None
        try:
            while True:
                await kind.attack(line)
        finally:
            if draining is not None:
                draining.cancel()

    def _tls(self) -> ssl.SSLContext | None:
        if not KINDS[self.kind].tls:
            return None
        return anyones_certificate()


async def _drain(line: Line) -> None:
    """Read what comes: a client that does not is another kind."""
    with contextlib.suppress(OSError):
        while await line.reader.read(_CHUNK_BYTES):
            pass
