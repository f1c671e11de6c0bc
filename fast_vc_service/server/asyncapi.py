"""``/asyncapi.json``: the WebSocket protocol, both dialects, for programs to read."""

from __future__ import annotations

from typing import Any

from fast_vc_service import __version__
from fast_vc_service.engine.blend import MOST_VOICES
from fast_vc_service.server.protocols.fields import MAX_NAME_CHARS, OPUS_RATES_HZ, PCM_RATES_HZ
from fast_vc_service.server.protocols.standard import (
    BIT_DEPTHS,
    BITRATES,
    FRAME_DURATIONS_MS,
    INT64,
    MAX_MARKER_CHARS,
    MAX_PITCH_SHIFT,
)
from fast_vc_service.sessions.errors import ErrorCode, WarningCode

Schema = dict[str, Any]

DESCRIPTION = """\
Speech goes in as binary messages, the same speech in another voice comes back as binary messages,
while it is spoken. The first message opens a session; a member `signal` with the value `start`
chooses the simple dialect, anything else is the standard one. Errors are followed by a close; the
close codes are with the error codes.
"""
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS}
_VOICE: Schema = {
    "oneOf": [
        _NAME,
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": MOST_VOICES,
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
        },
    ],
    "description": "A name, or a blend: names with their weights.",
}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_MS: Schema = {"type": "number", "minimum": 0, "description": "Milliseconds."}
_PITCH: Schema = {
    "type": "number",
    "minimum": -MAX_PITCH_SHIFT,
    "maximum": MAX_PITCH_SHIFT,
    "description": "Semitones on top of the automatic register match.",
}
_RATE: Schema = {
    "type": "integer",
    "minimum": PCM_RATES_HZ[0],
    "maximum": PCM_RATES_HZ[1],
    "default": 16_000,
    "description": f"Hz. With OPUS one of {', '.join(map(str, OPUS_RATES_HZ))}.",
}
_ENCODING: Schema = {"enum": ["PCM", "OPUS"], "default": "PCM"}
_FRAME: Schema = {
    "type": "number",
    "minimum": FRAME_DURATIONS_MS[0],
    "maximum": FRAME_DURATIONS_MS[1],
    "default": 20,
    "description": "Milliseconds of a packet; a hint, a packet's own header decides.",
}
_BITS: Schema = {"enum": list(BIT_DEPTHS), "default": 16, "description": "Of a PCM sample."}
_MARKER_ID: Schema = {
    "oneOf": [
        {"type": "string", "maxLength": MAX_MARKER_CHARS},
        {"type": "integer", "minimum": INT64[0], "maximum": INT64[1]},
    ]
}


def _object(properties: Schema, required: tuple[str, ...] = (), *, closed: bool = False) -> Schema:
    made: Schema = {"type": "object", "properties": properties, "required": list(required)}
    return {**made, "additionalProperties": False} if closed else made


def _said(kind: str, **properties: Schema) -> Schema:
    """A message of the server's: all of its members, and no others."""
    members = {"type": {"const": kind}, **properties}
    return _object(members, tuple(members), closed=True)


def _factor() -> Schema:
    names = ("mean", "median", "min", "max", "std", "p95", "p99")
    return _object({name: {"type": ["number", "null"]} for name in names}, names, closed=True)


CONFIG = _object(
    {
        "type": {"const": "config"},
        "session_id": {**_NAME, "description": "Echoed; the server makes one when left out."},
        "api_key": {"type": "string", "description": "Or the header Authorization: Bearer."},
        "sample_rate": _RATE,
        "bit_depth": _BITS,
        "channels": {"const": 1, "default": 1},
        "encoding": _ENCODING,
        "opus_frame_duration": _FRAME,
        "sample_rate_out": _RATE,
        "encoding_out": _ENCODING,
        "bitrate_out": {
            "type": "integer",
            "minimum": BITRATES[0],
            "maximum": BITRATES[1],
            "default": 32_000,
            "description": "Bits a second of Opus that comes back.",
        },
        "voice": {
            **_VOICE,
            "description": "A name or a blend; the server's default when left out.",
        },
        "pitch_shift": {**_PITCH, "default": 0.0},
        "trim_delay": {
            "type": "boolean",
            "default": True,
            "description": "False: output starts with delay_ms of silence and is longer by it.",
        },
        "realtime": {
            "type": "boolean",
            "default": True,
            "description": "False: an upload, paced by back-pressure only, never silenced.",
        },
        "seed": {"type": "integer", "minimum": INT64[0], "maximum": INT64[1], "default": 0},
        "record": {"type": "boolean", "description": "False always wins."},
    },
    ("type",),
)
SIMPLE_START = _object(
    {
        "signal": {"const": "start"},
        "stream_id": _NAME,
        "api_key": {"type": "string"},
        "sample_rate": _RATE,
        "sample_bit": _BITS,
        "encoding": _ENCODING,
        "opus_frame_duration": _FRAME,
        "sample_rate_out": _RATE,
        "voice": _VOICE,
    },
    ("signal",),
)
_LIMITS = ("max_message_bytes", "idle_timeout_s", "max_session_s", "max_buffered_ms")
READY = _said(
    "ready",
    session_id=_NAME,
    message={"type": "string"},
    sample_rate_out=_RATE,
    encoding_out=_ENCODING,
    opus_pre_skip_samples=_COUNT,
    voice=_VOICE,
    engine={"type": "string"},
    block_ms=_MS,
    delay_ms=_MS,
    latency_ms={**_MS, "description": "block_ms + delay_ms; computing and network come on top."},
    recording={"type": "boolean"},
    limits=_object(dict.fromkeys(_LIMITS, _NUMBER), _LIMITS, closed=True),
    server_version={"type": "string"},
)
_STATS: Schema = {
    "total_processed_ms": _MS,
    "chunks_processed": _COUNT,
    "average_latency_ms": _MS,
    "received_ms": _MS,
    "sent_ms": _MS,
    "sent_samples": _COUNT,
    "silenced_ms": _MS,
    "concealed_ms": _MS,
    "latency_p50_ms": _MS,
    "latency_p95_ms": _MS,
    "latency_p99_ms": _MS,
    "real_time_factor": _factor(),
    "is_real_time": {"type": "boolean"},
}
ERROR = _said(
    "error",
    error_code={
        "enum": [str(code) for code in ErrorCode],
        "description": "Close codes: "
        + ", ".join(f"{code} {code.close_code}" for code in ErrorCode)
        + ".",
    },
    message={"type": "string"},
    details=_object(
        {
            "expected": {"type": "string"},
            "got": {"type": "string"},
            "hint": {"type": "string"},
            "available": {"type": "array", "items": {"type": "string"}},
            "retry_after_s": _NUMBER,
        }
    ),
)
AUDIO: Schema = {
    "type": "string",
    "contentEncoding": "binary",
    "description": "PCM: signed little-endian mono samples, any number of bytes. OPUS: one raw "
    "packet; from the client an empty one stands for a lost packet.",
}

CLIENT: dict[str, tuple[str, Schema]] = {
    "config": ("Opens a session in the standard dialect.", CONFIG),
    "marker": (
        "Asks to be told when the output has reached this place of the input.",
        _object({"type": {"const": "marker"}, "id": _MARKER_ID}, ("type", "id")),
    ),
    "update": (
        "Changes voice or pitch shift from the first block boundary after this place.",
        {
            **_object(
                {"type": {"const": "update"}, "voice": _VOICE, "pitch_shift": _PITCH}, ("type",)
            ),
            "anyOf": [{"required": ["voice"]}, {"required": ["pitch_shift"]}],
        },
    ),
    "end": ("No more audio follows.", _object({"type": {"const": "end"}}, ("type",))),
    "simpleStart": ("Opens a session in the simple dialect.", SIMPLE_START),
    "simpleEnd": ("The same as end.", _object({"signal": {"const": "end"}}, ("signal",))),
}
SERVER: dict[str, tuple[str, Schema]] = {
    "ready": ("The session is open.", READY),
    "markerReached": (
        "Follows the output that a marker asked for.",
        _said("marker", id=_MARKER_ID, received_ms=_MS, sent_ms=_MS),
    ),
    "updated": (
        "Precedes the first output that an update affects.",
        _said("updated", voice=_VOICE, pitch_shift=_PITCH, from_sent_ms=_MS),
    ),
    "warning": (
        "Something went wrong that the session survives; at most one a second.",
        _said(
            "warning",
            code={"enum": [str(code) for code in WarningCode]},
            message={"type": "string"},
            silenced_ms=_MS,
        ),
    ),
    "goingAway": ("The service is about to stop.", _said("going_away", in_s=_NUMBER)),
    "complete": (
        "All output has been sent; the connection closes with 1000.",
        _said("complete", stats=_object(_STATS, tuple(_STATS), closed=True)),
    ),
    "error": ("The session is over; the connection closes with the code's own.", ERROR),
    "simpleCompleted": (
        "The same as complete.",
        _object({"signal": {"const": "completed"}}, ("signal",), closed=True),
    ),
    "simpleFailed": (
        "The same as error.",
        _object(
            {
                "status": {"const": "failed"},
                "stream_id": {"type": ["string", "null"]},
                "error_msg": {"type": "string"},
            },
            ("status", "stream_id", "error_msg"),
            closed=True,
        ),
    ),
}


def describe() -> Schema:
    """Return the AsyncAPI 3.0 document of the WebSocket protocol."""
    messages = {
        name: {
            "name": name,
            "summary": summary,
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/{name}"},
        }
        for name, (summary, _) in {**CLIENT, **SERVER}.items()
    }
    messages["audio"] = {
        "name": "audio",
        "summary": "A binary message of audio, in either direction.",
        "contentType": "application/octet-stream",
        "payload": {"$ref": "#/components/schemas/audio"},
    }
    schemas = {name: schema for name, (_, schema) in {**CLIENT, **SERVER}.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "fast-vc-service",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "session": {
                "address": "/ws",
                "summary": "One session a connection; / is the same.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "hear": _operation("receive", "What clients send.", [*CLIENT, "audio"]),
            "speak": _operation("send", "What the server sends.", [*SERVER, "audio"]),
        },
        "components": {"messages": messages, "schemas": {**schemas, "audio": AUDIO}},
    }


def _operation(action: str, summary: str, names: list[str]) -> Schema:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/session"},
        "messages": [{"$ref": f"#/channels/session/messages/{name}"} for name in names],
    }
