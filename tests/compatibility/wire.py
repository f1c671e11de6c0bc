"""Plays a script to a real service and writes down what the client said and what it heard."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.compatibility.fingerprint import fingerprint
from tests.compatibility.same_results import opuslib
from tests.compatibility.scripts import HEAR, Raw, Script
from tests.e2e.service import RunningService

PATIENCE_S = 30.0

MEASURED = {
    "average_latency_ms",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "real_time_factor",
    "is_real_time",
    "retry_after_s",
    "server_version",
    "source_f0_hz",
}
"""Keys whose values depend on the day or the CPU: what is kept of them is their kind.

So does what had been received when a marker is answered."""


def converse(service: RunningService, script: Script) -> dict[str, Any]:
    """Play ``script``; return the transcript."""
    with service.connect(script.path, additional_headers=dict(script.headers)) as ws:
        listener = Listener(ws)
        for step in script.steps:
            if step == HEAR:
                listener.hear()
            else:
                send(ws, step)
        listener.listen_to_the_end()
    return {"client": shown(script), **listener.transcript(script)}


def send(ws: ClientConnection, step: dict[str, Any] | Raw | bytes) -> None:
    with suppress(ConnectionClosed):  # what the server said before is still to be heard
        if isinstance(step, Raw):
            ws.send(step.text)
        else:
            ws.send(step if isinstance(step, bytes) else json.dumps(step))


class Listener:
    """Everything that one client hears."""

    def __init__(self, ws: ClientConnection) -> None:
        self._ws = ws
        self._texts: list[Any] = []
        self._payloads: list[bytes] = []
        self._places: list[int | None] = []
        self._close: dict[str, Any] | None = None

    def hear(self) -> None:
        """Wait for the next text message."""
        count = len(self._texts)
        while len(self._texts) == count and not self.closed:
            self._next()

    @property
    def closed(self) -> bool:
        return self._close is not None

    def hear_audio(self) -> None:
        """Wait for the next binary message."""
        count = len(self._payloads)
        while len(self._payloads) == count and not self.closed:
            self._next()

    def listen_for(self, seconds: float) -> None:
        """Wait for the next message, or not longer than this."""
        with suppress(TimeoutError):
            self._next(seconds)

    def listen_to_the_end(self) -> None:
        while not self.closed:
            self._next()

    def transcript(self, script: Script) -> dict[str, Any]:
        """Return what was heard: texts in their order, audio as one piece, the close."""
        heard: dict[str, Any] = {
            "server": [normal(text, script) for text in self._texts],
            "bytes before": self._places,
            "close": self._close,
        }
        if script.audio_is_certain:
            heard["audio"] = describe(self._payloads, script, self._rate(script))
        return heard

    def _rate(self, script: Script) -> int:
        ready = self._texts[0] if self._texts else {}
        told: int = ready.get("sample_rate_out", script.first.get("sample_rate_out", 16_000))
        return script.opus_hz or told

    def _next(self, seconds: float = PATIENCE_S) -> None:
        try:
            message = self._ws.recv(timeout=seconds)
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                raise AssertionError("the server cut the line without a close frame") from closed
            self._close = {"code": closed.rcvd.code, "reason": closed.rcvd.reason}
            return
        if isinstance(message, bytes):
            self._payloads.append(message)
        else:
            text = json.loads(message)
            self._texts.append(text)
            # Markers and updates have a place in the audio; other texts come when they come.
            placed = text.get("type") in {"marker", "updated"}
            self._places.append(sum(map(len, self._payloads)) if placed else None)


def describe(payloads: list[bytes], script: Script, rate: int) -> dict[str, Any]:
    """Return the audio of a conversation as length, hash and fingerprint."""
    data = b"".join(payloads)
    if not payloads:
        return {"bytes": 0}
    described: dict[str, Any] = {"sha256": hashlib.sha256(data).hexdigest()}
    if script.opus_hz is None:
        described["bytes"] = len(data)
        samples = np.frombuffer(data, "<i2").astype(np.float32) / 32768
    else:
        # How many bytes a packet takes is the encoder's own choice.
        described["packets"] = len(payloads)
        samples = _decode(payloads, rate)
    return {**described, "fingerprint": fingerprint(samples, rate)}


def normal(message: dict[str, Any], script: Script) -> Any:
    """Return a server's message with what depends on the day replaced by its kind."""
    measured = MEASURED | ({"received_ms"} if message.get("type") == "marker" else set())
    kept = {
        key: normal(value, script)
        if isinstance(value, dict) and key not in measured
        else kind(value)
        if key in measured
        else value
        for key, value in message.items()
    }
    for name in ("session_id", "stream_id"):
        # Given by the client it comes back unchanged; else the server makes one.
        if name in kept and script.first.get(name) is None:
            kept[name] = kind(kept[name])
    return kept


def kind(value: Any) -> Any:
    """Return what sort of value this is; of an object, of each of its members."""
    if isinstance(value, dict):
        return {key: kind(member) for key, member in value.items()}
    names = {bool: "boolean", int: "number", float: "number", str: "text", type(None): "null"}
    return f"<{names[type(value)]}>"


def shown(script: Script) -> list[Any]:
    """Return what the client says, in a form for JSON; audio messages in a row as one entry."""
    said: list[Any] = []
    for is_audio, steps in groupby(script.steps, lambda step: isinstance(step, bytes)):
        if is_audio:
            messages = list(steps)
            digest = hashlib.sha256(b"".join(messages)).hexdigest()
            said.append({"audio messages": list(map(len, messages)), "sha256": digest})
        else:
            said += [{"raw": step.text} if isinstance(step, Raw) else step for step in steps]
    return said


def _decode(payloads: list[bytes], rate: int) -> NDArray[np.float32]:
    decoder = opuslib().Decoder(rate, 1)
    data = b"".join(decoder.decode(packet, rate // 50) for packet in payloads)
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768
