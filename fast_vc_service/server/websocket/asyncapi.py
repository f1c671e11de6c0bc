"""``/asyncapi.json``: the WebSocket protocol, both dialects, for programs to read."""

from __future__ import annotations

from typing import Any

from fast_vc_service import __version__
from fast_vc_service.protocol.schemas import schema_of
from fast_vc_service.protocol.wire import CLIENT_MESSAGES, SERVER_MESSAGES

DESCRIPTION = """\
Speech goes in as binary messages, the same speech in another voice comes back as binary messages,
while it is spoken. The first message opens a session; a member `signal` with the value `start`
chooses the simple dialect, anything else is the standard one. Errors are followed by a close; the
close codes are with the error codes.
"""
AUDIO = {
    "type": "string",
    "contentEncoding": "binary",
    "description": "PCM: signed little-endian mono samples, any number of bytes. MULAW, ALAW: "
    "a byte a sample, any number. OPUS: one raw packet; from the client an empty one "
    "stands for a lost packet.",
}


def describe() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of the WebSocket protocol."""
    spoken = (*CLIENT_MESSAGES, *SERVER_MESSAGES)
    messages = {
        message.name: {
            "name": message.name,
            "summary": message.summary,
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/{message.name}"},
        }
        for message in spoken
    }
    messages["audio"] = {
        "name": "audio",
        "summary": "A binary message of audio, in either direction.",
        "contentType": "application/octet-stream",
        "payload": {"$ref": "#/components/schemas/audio"},
    }
    schemas = {message.name: schema_of(message) for message in spoken}
    from_client = [message.name for message in CLIENT_MESSAGES]
    from_server = [message.name for message in SERVER_MESSAGES]
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
            "hear": _operation("receive", "What clients send.", [*from_client, "audio"]),
            "speak": _operation("send", "What the server sends.", [*from_server, "audio"]),
        },
        "components": {"messages": messages, "schemas": {**schemas, "audio": AUDIO}},
    }


def _operation(action: str, summary: str, names: list[str]) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/session"},
        "messages": [{"$ref": f"#/channels/session/messages/{name}"} for name in names],
    }
