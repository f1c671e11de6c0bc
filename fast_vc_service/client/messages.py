"""The texts of both dialects as a client sees them (spec: WebSocket protocol)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fast_vc_service.client.errors import PROTOCOL_ERROR, VoiceServiceError
from fast_vc_service.client.protocol_types import (
    SERVER_TYPES,
    GoingAway,
    MarkerReached,
    Ready,
    SessionOptions,
    Updated,
    Warned,
)
from fast_vc_service.protocol.members import Dialect
from fast_vc_service.protocol.wire import CONFIG, END, SERVER_MESSAGES, SIMPLE_END, SIMPLE_START

_SIMPLE_NAMES = {member.name: name for name, member in SIMPLE_START.members()}


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
        return json.dumps({**dict([CONFIG.tag]), **options})
    message: dict[str, object] = {**dict([SIMPLE_START.tag]), "sample_bit": 16}
    for name, value in options.items():
        if name not in _SIMPLE_NAMES:
            raise ValueError(f"{name}: the simple dialect cannot say it; use the standard one")
        message[_SIMPLE_NAMES[name]] = value
    return json.dumps(message)


def end_message(dialect: Dialect) -> str:
    """Return the message that ends the input."""
    return json.dumps(dict([(END if dialect == "standard" else SIMPLE_END).tag]))


Notice = MarkerReached | Updated | Warned | GoingAway


@dataclass(frozen=True, slots=True)
class Complete:
    """The server's last word; ``stats`` is empty in the simple dialect.

    ``source_f0_hz`` is the register of the speaker as it was learned; None: it was not.
    """

    stats: Mapping[str, Any]
    source_f0_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The server's refusal. ``code`` is None in the simple dialect: the close code tells it."""

    message: str
    code: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)


ServerText = Ready | Notice | Complete | Failed


def parse(text: str) -> ServerText | None:
    """Parse what the server said, in either dialect; None for a kind this client does not know.

    Raises:
        VoiceServiceError: ``PROTOCOL_ERROR``: not a JSON object, or without a needed member.
    """
    try:
        content = json.loads(text)
        said = next((m for m in SERVER_MESSAGES if content.get(m.tag[0]) == m.tag[1]), None)
        if said is None:
            return None
        match said.name:
            case "simpleCompleted":
                return Complete({}, content.get("source_f0_hz"))
            case "simpleFailed":
                return Failed(str(content["error_msg"]))
            case "complete":
                stats = dict(content.get("stats") or {})
                return Complete(stats, stats.get("source_f0_hz"))
            case "error":
                details = content.get("details") or {}
                return Failed(str(content["message"]), str(content["error_code"]), dict(details))
            case _:
                return SERVER_TYPES[said.tag[1]].from_json(content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise VoiceServiceError(
            PROTOCOL_ERROR,
            "the server sent a text that cannot be understood",
            {"got": text[:200], "hint": "is this URL the voice conversion service?"},
        ) from error
