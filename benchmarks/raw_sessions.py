"""Clients of a load that speak over raw sockets, as cheap as Python allows.

Each session sends 20 ms of 16 kHz PCM every 20 ms by an absolute clock, and a marker before every
tenth chunk. The latency of a marker runs from
the *scheduled* time of the chunk that lets the server answer it (known from the block and delay
that ``ready`` declares) to its arrival, so neither a stalling client nor a declared delay hides
in it or is counted by it.

A WebSocket library would cost more than the service does; frames are built once and parsed here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np
import uvloop

from fast_vc_service.client.pacing import Pacer
from fast_vc_service.client.statistics import ChunkLatency
from fast_vc_service.loadtest.client_report import ClientReport, failed
from fast_vc_service.loadtest.processes import Begin, Tell

SAMPLE_RATE = 16_000
CHUNK_MS = 20
CHUNK_S = CHUNK_MS / 1e3
MARKER_EVERY = 10
GRACE_S = 15.0
"""Time the server has to answer once nothing more is sent."""

SESSION_FAILED = "SESSION_FAILED"
"""A session, or another of the same process, was refused, fell silent or went away."""

_TEXT, _BINARY, _CLOSE = 1, 2, 8


@dataclass
class Session(asyncio.Protocol):
    """One client session on a raw connection."""

    host: str
    path: str
    config: str
    ready: asyncio.Future[dict[str, Any]]
    complete: asyncio.Future[dict[str, Any]]
    chunks: list[ChunkLatency] = field(default_factory=list)
    send_delays_ms: list[float] = field(default_factory=list)
    received_bytes: int = 0
    pacer: Pacer | None = None
    warm_up_chunks: int = 0
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
        self._give_up(ConnectionError(f"the server closed the connection: {exc}"))

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
            if self.pacer is not None and message["id"] >= self.warm_up_chunks:
                ready = self.ready.result()
                due_s = self.pacer.due_s(answering_chunk(message["id"], ready) * CHUNK_S)
                latency_ms = 1e3 * (arrived_s - due_s)
                age_ms = latency_ms + ready["block_ms"] + ready["delay_ms"]
                self.chunks.append(ChunkLatency(arrived_s, latency_ms, age_ms))
        elif message["type"] == "ready":
            self.ready.set_result(message)
        elif message["type"] == "complete":
            self.complete.set_result(message["stats"])
        elif message["type"] == "error":
            self._fail(f"{message['error_code']}: {message['message']}")

    def _fail(self, reason: str) -> None:
        self._give_up(RuntimeError(reason))
        assert self._transport is not None
        self._transport.close()

    def _give_up(self, error: Exception) -> None:
        for future in (self.ready, self.complete):
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen: nobody waits for the second of them


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


@dataclass(frozen=True)
class RawClients:
    """Clients that send noise in real time, in turn to several servers.

    Attributes:
        urls: WebSocket addresses of the servers.
        warm_up_s: Seconds at the beginning whose markers do not count.
        seconds: Seconds that count.
    """

    urls: Sequence[str]
    warm_up_s: float
    seconds: float

    def url_of(self, number: int) -> str:
        """Return the server of client ``number``."""
        return self.urls[(number - 1) % len(self.urls)]

    def run(self, numbers: Sequence[int], begin: Begin, tell: Tell) -> None:
        """Run the clients ``numbers`` (:class:`fast_vc_service.loadtest.processes.Clients`)."""
        for report in uvloop.run(self.run_sessions(numbers, begin)):
            tell(report)

    async def run_sessions(self, numbers: Sequence[int], begin: Begin) -> list[ClientReport]:
        """Run the sessions side by side; one that fails ends all."""
        try:
            async with asyncio.timeout(GRACE_S):
                sessions = await asyncio.gather(*(_connect(self.url_of(n)) for n in numbers))
                await asyncio.gather(*(session.ready for session in sessions))
            schedule = await asyncio.to_thread(begin)
            for number, session in zip(numbers, sessions, strict=True):
                session.pacer = Pacer(time.monotonic, started_s=schedule.begin_s(number))
                session.warm_up_chunks = round(self.warm_up_s / CHUNK_S)
            chunks = round(self.warm_up_s / CHUNK_S) + round(self.seconds / CHUNK_S)
            await _send_all(sessions, chunks)
            async with asyncio.timeout(GRACE_S):
                stats = await asyncio.gather(*(session.complete for session in sessions))
        except (OSError, RuntimeError) as error:
            reason = str(error) or f"no answer within {GRACE_S:g} s"
            return [failed(number, SESSION_FAILED, reason) for number in numbers]
        return [
            ClientReport(
                number,
                chunks=session.chunks,
                send_delays_ms=session.send_delays_ms,
                server_stats=told,
            )
            for number, session, told in zip(numbers, sessions, stats, strict=True)
        ]


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


async def _send_all(sessions: Sequence[Session], chunks: int) -> None:
    """Send every chunk when it is due, and note how late each was."""
    noise = np.random.default_rng(0).normal(0, 1000, SAMPLE_RATE * CHUNK_MS // 1000)
    audio = frame(_BINARY, noise.astype("<i2").tobytes())
    for chunk in range(chunks):
        marker = frame(_TEXT, json.dumps({"type": "marker", "id": chunk}).encode())
        for session in sessions:
            assert session.pacer is not None
            due_s = session.pacer.due_s(chunk * CHUNK_S)
            # One sleep, not the pacer's wait: uvloop wakes up to a millisecond early, and sleeping
            # again for so short a time would keep the process busy.
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            session.send_delays_ms.append(1e3 * (time.monotonic() - due_s))
            session.send(marker + audio if chunk % MARKER_EVERY == 0 else audio)
        # Behind schedule nothing above waits: let what has arrived be read.
        await asyncio.sleep(0)
    for session in sessions:
        session.send(frame(_TEXT, b'{"type": "end"}'))
