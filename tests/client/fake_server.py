"""A tiny server for tests of the client: echoes audio after a delay, or misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from waiting import spend_async

STATS = {
    "total_processed_ms": 1.0,
    "chunks_processed": 1,
    "average_latency_ms": 1.0,
    "silenced_ms": 0.0,
    "latency_p50_ms": 1.0,
    "latency_p95_ms": 2.0,
    "latency_p99_ms": 3.0,
    "real_time_factor": {
        "mean": 0.1,
        "median": 0.1,
        "min": 0.05,
        "max": 0.2,
        "std": 0.01,
        "p95": 0.15,
        "p99": 0.18,
    },
    "is_real_time": True,
}

Behaviour = Callable[["FakeServer", ServerConnection, dict[str, Any]], Awaitable[None]]


@dataclass
class FakeServer:
    """What one server does and what it has seen.

    Attributes:
        behaviour: Serves a connection after its first message.
        delay_s: By how much the echo trails.
        refuse: HTTP status, headers and body to answer the upgrade with.
        pre_skip: Opus pre-skip it declares.
        url: Where it listens.
        hellos: First messages.
        texts: Later texts.
        source_f0_hz: What it says it has learned of the speaker.
        audio: Audio messages received.
    """

    behaviour: Behaviour | None = None
    delay_s: float = 0.0
    refuse: tuple[HTTPStatus, dict[str, str], str] | None = None
    pre_skip: int = 0
    url: str = ""
    hellos: list[dict[str, Any]] = field(default_factory=list)
    texts: list[dict[str, Any]] = field(default_factory=list)
    source_f0_hz: float | None = None
    audio: list[bytes] = field(default_factory=list)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[FakeServer]:
        """Listen on a free port."""
        async with serve(
            self._serve,
            "127.0.0.1",
            0,
            compression=None,
            ping_interval=None,
            close_timeout=0.2,
            process_request=self._upgrade,
        ) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            self.url = f"ws://127.0.0.1:{port}/ws"
            yield self

    def _upgrade(self, connection: ServerConnection, _request: Request) -> Response | None:
        if self.refuse is None:
            return None
        status, headers, body = self.refuse
        response = connection.respond(status, body)
        for name, value in headers.items():
            response.headers[name] = value
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        try:
            hello = json.loads(await connection.recv())
            self.hellos.append(hello)
            await (self.behaviour or echo)(self, connection, hello)
        except ConnectionClosed:
            pass


async def say(connection: ServerConnection, **content: object) -> None:
    """Send a JSON text."""
    await connection.send(json.dumps(content))


async def say_ready(
    server: FakeServer, connection: ServerConnection, hello: dict[str, Any], **other: object
) -> None:
    """Send the hello of the standard dialect, with ``other`` members in place of the usual."""
    usual = {
        "type": "ready",
        "session_id": hello.get("session_id", "made-here"),
        "message": "ready",
        "sample_rate_out": hello.get("sample_rate_out", 16_000),
        "encoding_out": hello.get("encoding_out", "PCM"),
        "opus_pre_skip_samples": server.pre_skip,
        "voice": hello.get("voice", "default"),
        "engine": "echo",
        "block_ms": 20.0,
        "delay_ms": 0.0,
        "latency_ms": 20.0,
        "recording": False,
        "limits": {},
        "server_version": "0",
        "something_new": 1,
    }
    await say(connection, **(usual | other))


async def echo(server: FakeServer, connection: ServerConnection, hello: dict[str, Any]) -> None:
    """Send every audio message back ``delay_s`` later, then the last word of the dialect."""
    simple = hello.get("signal") == "start"
    if not simple:
        await say_ready(server, connection, hello)
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()

    async def give_back() -> None:
        while (item := await waiting.get()) is not None:
            due, payload = item
            await spend_async(due - loop.time())
            await connection.send(payload)

    giving = asyncio.create_task(give_back())
    sent = 0
    async for message in connection:
        if isinstance(message, bytes):
            server.audio.append(message)
            sent += len(message) // 2
            waiting.put_nowait((loop.time() + server.delay_s, message))
            continue
        content = json.loads(message)
        server.texts.append(content)
        if content.get("type") == "marker":
            await say(connection, type="marker", id=content["id"], received_ms=1.0, sent_ms=1.0)
        elif content.get("type") == "update":
            await say(
                connection,
                type="updated",
                voice=content["voice"],
                pitch_shift=content.get("pitch_shift", 0.0),
                from_sent_ms=1.0,
            )
        elif "end" in {content.get("type"), content.get("signal")}:
            break
    waiting.put_nowait(None)
    await giving
    if simple:
        await say(connection, signal="completed", source_f0_hz=server.source_f0_hz)
    else:
        stats = {**STATS, "sent_samples": sent, "source_f0_hz": server.source_f0_hz}
        await say(connection, type="complete", stats=stats)
    await connection.close(1000)


def refuse(code: str, close_code: int, message: str = "no", **details: object) -> Behaviour:
    """Answer the first message with an error in its dialect."""

    async def behaviour(
        _server: FakeServer, connection: ServerConnection, hello: dict[str, Any]
    ) -> None:
        await say_error(connection, hello, code, message, **details)
        await connection.close(close_code)

    return behaviour


async def say_error(
    connection: ServerConnection,
    hello: dict[str, Any],
    code: str,
    message: str,
    **details: object,
) -> None:
    """Send an error in the dialect of ``hello``."""
    if hello.get("signal") == "start":
        await say(connection, status="failed", stream_id=hello.get("stream_id"), error_msg=message)
    else:
        await say(connection, type="error", error_code=code, message=message, details=details)


async def stay_silent(
    _server: FakeServer, connection: ServerConnection, _hello: dict[str, Any]
) -> None:
    """Read everything, say nothing."""
    async for _message in connection:
        pass


async def go_silent_after_ready(
    server: FakeServer, connection: ServerConnection, hello: dict[str, Any]
) -> None:
    """Say hello, then read everything and say nothing."""
    await say_ready(server, connection, hello)
    await stay_silent(server, connection, hello)


async def break_off(
    server: FakeServer, connection: ServerConnection, hello: dict[str, Any]
) -> None:
    """Say hello, echo one message, then cut the line."""
    if "type" in hello:
        await say_ready(server, connection, hello)
    await connection.send(await connection.recv())
    reading = asyncio.create_task(stay_silent(server, connection, hello))
    # Once that is answered, the client has read all that was sent before it.
    await (await connection.ping())
    connection.transport.abort()
    await reading


async def go_away(server: FakeServer, connection: ServerConnection, hello: dict[str, Any]) -> None:
    """Echo three messages, announce the end, then end."""
    await say_ready(server, connection, hello)
    for _ in range(3):
        await connection.send(await connection.recv())
    await say(connection, type="going_away", in_s=0.1)
    await say_error(connection, hello, "GOING_AWAY", "the service is stopping", hint="elsewhere")
    await connection.close(1012)
