"""The texts of both dialects as a client sees them (spec: WebSocket protocol)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from fast_vc_service.client.errors import PROTOCOL_ERROR, VoiceServiceError
from fast_vc_service.client.from_json import FromJson
from fast_vc_service.client.records import VoiceChoice

Dialect = Literal["standard", "simple"]
Encoding = Literal["PCM", "OPUS"]


class SessionOptions(TypedDict, total=False):
    """What a client may ask for in its first message; what is left out is the server's choice.

    The simple dialect knows only the first seven.

    Attributes:
        session_id: 1 to 128 characters, echoed by the server; the simple dialect's ``stream_id``.
        api_key: Key, if the server wants one.
        sample_rate: Hz of the audio that is sent (16000). PCM: 8000 to 48000; Opus: 8000, 12000,
            16000, 24000 or 48000.
        encoding: How audio is sent: ``"PCM"`` (16 bit) or ``"OPUS"`` (raw packets).
        opus_frame_duration: Milliseconds of a packet that is sent (20): 2.5, 5, 10, 20, 40 or 60.
        sample_rate_out: Hz of the audio that comes back (16000).
        voice: Name of a voice the server has, or a blend: names with their weights.
        encoding_out: How audio comes back: ``"PCM"`` or ``"OPUS"``.
        bitrate_out: Bits a second of Opus that comes back (32000).
        pitch_shift: Semitones, -24 to 24, on top of the automatic register match.
        trim_delay: False: output starts with the server's delay as silence, and is longer by it.
        realtime: False: an upload, as fast as the server can, never silenced.
        seed: Seed of the noise in the voice.
        record: False: do not record this session, whatever the server's setting.
    """

    session_id: str
    api_key: str
    sample_rate: int
    encoding: Encoding
    opus_frame_duration: float
    sample_rate_out: int
    voice: VoiceChoice
    encoding_out: Encoding
    bitrate_out: int
    pitch_shift: float
    trim_delay: bool
    realtime: bool
    seed: int
    record: bool


_SIMPLE_NAMES = {
    "session_id": "stream_id",
    "api_key": "api_key",
    "sample_rate": "sample_rate",
    "encoding": "encoding",
    "opus_frame_duration": "opus_frame_duration",
    "sample_rate_out": "sample_rate_out",
    "voice": "voice",
}


def first_message(dialect: Dialect, options: SessionOptions) -> str:
    """Return the message that opens a session.

    Raises:
        TypeError: There is no such option.
        ValueError: The simple dialect cannot say one of ``options``.
    """
    if unknown := options.keys() - SessionOptions.__annotations__.keys():
        known = ", ".join(SessionOptions.__annotations__)
        raise TypeError(f"unknown option {', '.join(sorted(unknown))}; known: {known}")
    if dialect == "standard":
        return json.dumps({"type": "config", **options})
    message: dict[str, object] = {"signal": "start", "sample_bit": 16}
    for name, value in options.items():
        if name not in _SIMPLE_NAMES:
            raise ValueError(f"{name}: the simple dialect cannot say it; use the standard one")
        message[_SIMPLE_NAMES[name]] = value
    return json.dumps(message)


def end_message(dialect: Dialect) -> str:
    """Return the message that ends the input."""
    return json.dumps({"type": "end"} if dialect == "standard" else {"signal": "end"})


@dataclass(frozen=True, slots=True)
class Ready(FromJson):
    """The server's hello. None: an older server that does not say.

    Attributes:
        session_id: As asked for, or made by the server.
        message: A sentence for a person.
        sample_rate_out: Hz of the audio to come.
        encoding_out: Its encoding.
        opus_pre_skip_samples: Decoded samples to drop from the start of Opus output.
        voice: The voice in use; of a blend names with shares.
        engine: The server's engine.
        block_ms: Audio the server converts at a time.
        delay_ms: By how much output trails its input, the block itself not counted.
        latency_ms: Both together; computing and network come on top.
        recording: Whether the server records the session.
        limits: ``max_message_bytes``, ``idle_timeout_s``, ``max_session_s``, ``max_buffered_ms``.
        server_version: Its version.
    """

    session_id: str = ""
    message: str = ""
    sample_rate_out: int | None = None
    encoding_out: str | None = None
    opus_pre_skip_samples: int = 0
    voice: VoiceChoice | None = None
    engine: str | None = None
    block_ms: float | None = None
    delay_ms: float | None = None
    latency_ms: float | None = None
    recording: bool | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    server_version: str | None = None


@dataclass(frozen=True, slots=True)
class MarkerReached(FromJson):
    """The output has reached a marker; how much audio was received and sent by then, in ms."""

    id: str | int
    received_ms: float
    sent_ms: float


@dataclass(frozen=True, slots=True)
class Updated(FromJson):
    """From ``from_sent_ms`` of output on, another voice or pitch shift (semitones) is heard."""

    voice: VoiceChoice
    pitch_shift: float
    from_sent_ms: float


@dataclass(frozen=True, slots=True)
class Warned(FromJson):
    """Something the session survives; ``silenced_ms`` counts since its start."""

    code: str
    message: str = ""
    silenced_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class GoingAway(FromJson):
    """The service is about to stop; ``in_s`` seconds are left."""

    in_s: float


Notice = MarkerReached | Updated | Warned | GoingAway


@dataclass(frozen=True, slots=True)
class Complete:
    """The server's last word; ``stats`` is empty in the simple dialect."""

    stats: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The server's refusal. ``code`` is None in the simple dialect: the close code tells it."""

    message: str
    code: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)


ServerText = Ready | Notice | Complete | Failed

_NOTICES: Mapping[str, type[Ready | Notice]] = {
    "ready": Ready,
    "marker": MarkerReached,
    "updated": Updated,
    "warning": Warned,
    "going_away": GoingAway,
}


def parse(text: str) -> ServerText | None:
    """Parse what the server said, in either dialect; None for a kind this client does not know.

    Raises:
        VoiceServiceError: ``PROTOCOL_ERROR``: not a JSON object, or without a needed member.
    """
    try:
        content = json.loads(text)
        kind = content.get("type")
        if content.get("signal") == "completed":
            return Complete({})
        if content.get("status") == "failed":
            return Failed(str(content["error_msg"]))
        if kind == "complete":
            return Complete(dict(content.get("stats") or {}))
        if kind == "error":
            details = content.get("details") or {}
            return Failed(str(content["message"]), str(content["error_code"]), dict(details))
        return _NOTICES[kind].from_json(content) if kind in _NOTICES else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise VoiceServiceError(
            PROTOCOL_ERROR,
            "the server sent a text that cannot be understood",
            {"got": text[:200], "hint": "is this URL the voice conversion service?"},
        ) from error
