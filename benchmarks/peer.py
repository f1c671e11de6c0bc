"""The design this service is compared with: a model in each of W processes, run on the event loop.

    python -m benchmarks.peer --engine nano --port 9000 --workers 2

One of the W workers. It has the same weights, the same Stream and the same uvicorn as the service;
what differs is where a block is converted: at once, alone, in the coroutine that received it,
with ``max(1, cores // W)`` threads for torch. It answers the standard dialect as far as the load
generator speaks it.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any

import numpy as np
import typer
import uvicorn

from benchmarks.results import CORES
from benchmarks.service import DEFAULT_VOICE
from fast_vc_service.audio.codecs import make_decoder, make_encoder
from fast_vc_service.audio.files import read_audio
from fast_vc_service.client.summary import describe
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, Voice
from fast_vc_service.engine.families import build_converter
from fast_vc_service.engine.stream import Stream
from fast_vc_service.server.runner import uvicorn_config

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

RATE_HZ = 16_000


class Worker:
    """ASGI application with a model of its own."""

    def __init__(self, converter: Converter, voice: Voice) -> None:
        self._converter = converter
        self._voice = voice

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer health checks and convert WebSocket sessions (ASGI)."""
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"ok"})
        elif scope["type"] == "websocket":
            # Nobody shows a key here: everybody may send from the first.
            scope["extensions"]["connection"].know()
            await self._converse(receive, send)

    async def _converse(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if (await receive())["type"] != "websocket.receive":
            return
        call = Call(self._converter, self._voice, send)
        await call.say(
            {"type": "ready", "block_ms": call.block_s * 1e3, "delay_ms": call.stream.delay_ms}
        )
        while (message := await receive())["type"] == "websocket.receive":
            audio = message.get("bytes")
            if audio is not None:
                await call.hear(audio)
                continue
            control = json.loads(message["text"])
            if control["type"] == "marker":
                call.mark(control["id"])
            elif control["type"] == "end":
                await call.end()
                return


class Call:
    """One session: everything it does, it does here and now."""

    def __init__(self, converter: Converter, voice: Voice, send: Send) -> None:
        self.stream = Stream(converter, rate_in=RATE_HZ, rate_out=RATE_HZ)
        self.block_s = converter.block / SAMPLE_RATE_IN
        self._converter = converter
        self._state = converter.new_state(voice)
        self._decoder = make_decoder("PCM", RATE_HZ)
        self._encoder = make_encoder("PCM", RATE_HZ)
        self._send = send
        self._markers: deque[tuple[int, Any]] = deque()
        self._rtf: list[float] = []

    async def say(self, message: dict[str, Any]) -> None:
        """Send a JSON message."""
        await self._send({"type": "websocket.send", "text": json.dumps(message)})

    def mark(self, marker: Any) -> None:
        """Echo ``marker`` when the output has come this far."""
        position = self.stream.output_position(self.stream.received_samples)
        self._markers.append((position, marker))

    async def hear(self, audio: bytes) -> None:
        """Take audio in and send what it completes."""
        self.stream.push(self._decoder.decode(audio))
        await self._convert()

    async def end(self) -> None:
        """Send the rest and close."""
        self.stream.end()
        await self._convert()
        stats = {"silenced_ms": 0.0, "real_time_factor": describe(self._rtf)}
        await self.say({"type": "complete", "stats": stats})
        await self._send({"type": "websocket.close", "code": 1000})

    async def _convert(self) -> None:
        while (block := self.stream.take_block()) is not None:
            started = time.perf_counter()
            converted = self._converter.step(block[None], [self._state])[0]
            self._rtf.append((time.perf_counter() - started) / self.block_s)
            for payload in self._encoder.encode(self.stream.accept(converted)):
                await self._send({"type": "websocket.send", "bytes": payload})
            while self._markers and self._markers[0][0] < self.stream.sent_samples:
                await self.say({"type": "marker", "id": self._markers.popleft()[1]})


@app.command()
def main(
    engine: Annotated[str, typer.Option(help="Engine whose model it runs.")],
    port: Annotated[int, typer.Option(help="TCP port to listen on.")],
    workers: Annotated[int, typer.Option(help="How many such workers share the machine.")] = 1,
) -> None:
    """Serve one worker on 127.0.0.1."""
    converter = build_converter(engine)
    if engine not in {"world", "passthrough"}:
        import torch

        torch.set_num_threads(max(1, len(CORES) // workers))
    audio, rate = read_audio(DEFAULT_VOICE)
    voice = converter.make_voice("ref-24k", audio, rate)
    state = converter.new_state(voice)
    for _ in range(5):
        converter.step(np.zeros((1, converter.block), np.float32), [state])
    config = uvicorn_config(Worker(converter, voice))
    config.port = port
    config.lifespan = "off"
    uvicorn.Server(config).run()


if __name__ == "__main__":
    app()
