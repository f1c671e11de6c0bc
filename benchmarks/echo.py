"""A bare echo endpoint on the service's own kind of uvicorn: what the transport alone costs.

    python -m benchmarks.echo --port 9000

It answers the standard dialect as far as the load generator speaks it: ``ready`` to the first
message, each binary message at once, a marker right after the audio that follows it, ``complete``
to ``end``. It looks into no sample.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any

import typer
import uvicorn

from fast_vc_service.server.runner import uvicorn_config

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_READY = json.dumps({"type": "ready", "block_ms": 20.0, "delay_ms": 0.0})
_COMPLETE = json.dumps({"type": "complete", "stats": {"silenced_ms": 0.0}})


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Answer health checks and echo WebSocket messages (ASGI)."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})
    elif scope["type"] == "websocket":
        # Nobody shows a key here: everybody may send from the first.
        scope["extensions"]["connection"].know()
        await _echo(receive, send)


async def _echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    if (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": _READY})
    markers: list[str] = []
    while (message := await receive())["type"] == "websocket.receive":
        audio = message.get("bytes")
        if audio is not None:
            await send({"type": "websocket.send", "bytes": audio})
            for marker in markers:
                await send({"type": "websocket.send", "text": marker})
            markers.clear()
            continue
        control = json.loads(message["text"])
        if control["type"] == "marker":
            markers.append(message["text"])
        elif control["type"] == "end":
            await send({"type": "websocket.send", "text": _COMPLETE})
            await send({"type": "websocket.close", "code": 1000})
            return


@app.command()
def main(port: Annotated[int, typer.Option(help="TCP port to listen on.")]) -> None:
    """Serve the echo endpoint on 127.0.0.1."""
    config = uvicorn_config(application)
    config.port = port
    config.lifespan = "off"
    uvicorn.Server(config).run()


if __name__ == "__main__":
    app()
