"""Load of many real-time sessions from one process, as cheap as Python allows.

    python -m benchmarks.talkers --url ws://127.0.0.1:8042/ws --sessions 16

Each session sends 20 ms of 16 kHz PCM every 20 ms by an absolute clock, and a marker before every
tenth chunk. Sessions start evenly spread over a chunk's time. The latency of a marker runs from
the *scheduled* time of the chunk that lets the server answer it (known from the block and delay
that ``ready`` declares) to its arrival, so neither a stalling client nor a declared delay hides
in it or is counted by it.

A WebSocket library would cost more than the service does; frames are built once and parsed here.
Prints ``started <monotonic seconds>``, then one JSON object.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import numpy as np
import typer
import uvloop

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SAMPLE_RATE = 16_000
CHUNK_MS = 20
MARKER_EVERY = 10
GRACE_S = 15.0
"""Time the server has to answer once nothing more is sent."""

_TEXT, _BINARY, _CLOSE = 1, 2, 8


@dataclass(frozen=True)
class Schedule:
    """When a session's chunks are due.

    Attributes:
        start_s: Monotonic seconds at which its first chunk is due.
        warm_up_chunks: Chunks whose markers do not count.
        chunks: Chunks in all.
    """

    start_s: float
    warm_up_chunks: int
    chunks: int

    def due_s(self, chunk: int) -> float:
        """Return when ``chunk`` is to be sent, in monotonic seconds."""
        return self.start_s + chunk * CHUNK_MS / 1e3


@dataclass
class Session(asyncio.Protocol):
    """One client session on a raw connection."""

    host: str
    path: str
    config: str
    ready: asyncio.Future[dict[str, Any]]
    complete: asyncio.Future[dict[str, Any]]
    latencies_ms: list[float] = field(default_factory=list)
    received_bytes: int = 0
    schedule: Schedule | None = None
    _buffer: bytearray = field(default_factory=bytearray)
    _upgraded: bool = False
    _transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        # uvloop's transports are asyncio's by behaviour only.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whatever is still waited for."""
        for future in (self.ready, self.complete):
            if not future.done():
                future.set_exception(ConnectionError(f"the server closed the connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        """Parse what is whole."""
        arrived_s = time.monotonic()
        self._buffer += data
        if not self._upgraded:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head.split(b"\r\n")[0]:
                self._fail(f"expected 101 to the upgrade, got {bytes(head[:80])!r}")
                return
            self._upgraded = True
            self._buffer = rest
            self.send(frame(_TEXT, self.config.encode()))
        for opcode, payload in frames(self._buffer):
            self._take(opcode, payload, arrived_s)

    def send(self, data: bytes) -> None:
        """Write a frame."""
        assert self._transport is not None
        self._transport.write(data)

    def _take(self, opcode: int, payload: bytes, arrived_s: float) -> None:
        if opcode == _BINARY:
            self.received_bytes += len(payload)
        elif opcode == _TEXT:
            self._hear(json.loads(payload), arrived_s)
        elif opcode == _CLOSE:
            self.send(frame(_CLOSE, payload[:2]))

    def _hear(self, message: dict[str, Any], arrived_s: float) -> None:
        if message["type"] == "marker":
            schedule = self.schedule
            answered_by = answering_chunk(message["id"], self.ready.result())
            if schedule is not None and message["id"] >= schedule.warm_up_chunks:
                self.latencies_ms.append(1e3 * (arrived_s - schedule.due_s(answered_by)))
        elif message["type"] == "ready":
            self.ready.set_result(message)
        elif message["type"] == "complete":
            self.complete.set_result(message["stats"])
        elif message["type"] == "error":
            self._fail(f"{message['error_code']}: {message['message']}")

    def _fail(self, reason: str) -> None:
        for future in (self.ready, self.complete):
            if not future.done():
                future.set_exception(RuntimeError(reason))
        assert self._transport is not None
        self._transport.close()


def answering_chunk(marked_chunk: int, ready: dict[str, Any]) -> int:
    """Return the chunk whose arrival lets the server answer a marker sent before ``marked_chunk``.

    The marker waits for the output of the chunk's first sample: for the whole block that holds
    this sample once it is delayed.
    """
    block_ms, delay_ms = float(ready["block_ms"]), float(ready["delay_ms"])
    blocks = math.floor((marked_chunk * CHUNK_MS + delay_ms) / block_ms) + 1
    return math.ceil(blocks * block_ms / CHUNK_MS) - 1


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's frame; its mask is all zeros, which leaves the payload as it is."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


def frames(buffer: bytearray) -> list[tuple[int, bytes]]:
    """Take the whole frames of a server out of ``buffer``."""
    found = []
    start = 0
    while len(buffer) - start >= 2:
        size, head = buffer[start + 1], 2
        if size >= 126:
            head = 4 if size == 126 else 10
            size = int.from_bytes(buffer[start + 2 : start + head], "big")
        end = start + head + size
        if len(buffer) < max(end, start + head):
            break
        found.append((buffer[start] & 0x0F, bytes(buffer[start + head : end])))
        start = end
    del buffer[:start]
    return found


async def run_sessions(
    urls: Sequence[str], sessions: int, *, warm_up_s: float, seconds: float
) -> dict[str, Any]:
    """Run ``sessions`` real-time sessions side by side, in turn on ``urls``.

    Returns:
        ``latencies_ms`` of all markers; ``send_late_ms`` of all chunks; ``silenced_ms`` of all
        sessions together; ``rtf_p95``, the worst session's, None when no server told it;
        ``received_bytes`` of audio.
    """
    places = itertools.cycle(urls)
    async with asyncio.timeout(GRACE_S):
        clients = await asyncio.gather(*(_connect(next(places)) for _ in range(sessions)))
        await asyncio.gather(*(client.ready for client in clients))
    start_s = time.monotonic() + 0.1
    print(f"started {start_s}", flush=True)
    warm_up_chunks = round(1e3 * warm_up_s / CHUNK_MS)
    chunks = warm_up_chunks + round(1e3 * seconds / CHUNK_MS)
    for index, client in enumerate(clients):
        phase_s = index / sessions * CHUNK_MS / 1e3
        client.schedule = Schedule(start_s + phase_s, warm_up_chunks, chunks)
    late_ms = await _send_all(clients)
    async with asyncio.timeout(GRACE_S):
        stats = await asyncio.gather(*(client.complete for client in clients))
    return {
        "latencies_ms": [value for client in clients for value in client.latencies_ms],
        "send_late_ms": late_ms,
        "silenced_ms": sum(each["silenced_ms"] for each in stats),
        "rtf_p95": max(filter(None, map(_rtf_p95, stats)), default=None),
        "received_bytes": sum(client.received_bytes for client in clients),
    }


def _rtf_p95(stats: dict[str, Any]) -> float | None:
    rtf: float | None = (stats.get("real_time_factor") or {}).get("p95")
    return rtf


async def _connect(url: str) -> Session:
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    config = json.dumps({"type": "config", "sample_rate": SAMPLE_RATE, "api_key": "test-key"})
    _, client = await loop.create_connection(
        lambda: Session(
            parts.netloc, parts.path, config, loop.create_future(), loop.create_future()
        ),
        parts.hostname or "127.0.0.1",
        parts.port or 80,
    )
    return client


async def _send_all(clients: list[Session]) -> list[float]:
    """Send every chunk when it is due; return how late each was sent in ms."""
    noise = np.random.default_rng(0).normal(0, 1000, SAMPLE_RATE * CHUNK_MS // 1000)
    audio = frame(_BINARY, noise.astype("<i2").tobytes())
    schedule = clients[0].schedule
    assert schedule is not None
    late_ms = []
    for chunk in range(schedule.chunks):
        marker = frame(_TEXT, json.dumps({"type": "marker", "id": chunk}).encode())
        for client in clients:
            assert client.schedule is not None
            due_s = client.schedule.due_s(chunk)
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            late_ms.append(1e3 * (time.monotonic() - due_s))
            client.send(marker + audio if chunk % MARKER_EVERY == 0 else audio)
        # Behind schedule nothing above waits: let what has arrived be read.
        await asyncio.sleep(0)
    for client in clients:
        client.send(frame(_TEXT, b'{"type": "end"}'))
    return late_ms


@app.command()
def main(
    url: Annotated[list[str], typer.Option(help="WebSocket address; may be repeated.")],
    sessions: Annotated[int, typer.Option(help="Sessions at the same time.")] = 1,
    warm_up: Annotated[float, typer.Option(help="Seconds that do not count.")] = 2.0,
    seconds: Annotated[float, typer.Option(help="Seconds that count.")] = 10.0,
) -> None:
    """Run real-time sessions against a server."""
    result = uvloop.run(run_sessions(url, sessions, warm_up_s=warm_up, seconds=seconds))
    # An unbuffered stdout (PYTHONUNBUFFERED) may take only a part of so much.
    with open(1, "w", closefd=False) as output:
        output.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    app()
