"""Every message on the wire: which member tells it, which model it holds; text to models and back.

Binary messages are audio: PCM, signed little-endian mono samples, or G.711, a byte a sample, any
number of bytes; or one raw Opus packet, where an empty one from a client stands for a lost packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from fast_vc_service.protocol.json_text import JsonObject, dump
from fast_vc_service.protocol.members import REQUIRED, Dialect, Member, members_of
from fast_vc_service.protocol.messages import (
    Complete,
    End,
    Failed,
    GoingAway,
    Marker,
    MarkerReached,
    SimpleCompleted,
    SimpleFailed,
    Update,
    Updated,
    Warned,
)
from fast_vc_service.protocol.opening import Ready, Start
from fast_vc_service.protocol.values import VOICE, Rate
from fast_vc_service.protocol.voice_choice import to_json


class Message(NamedTuple):
    """A text message.

    Attributes:
        name: What schemas call it.
        tag: The member that tells it from others, and that member's value.
        model: What it holds.
        summary: What it says.
        dialect: Where it is spoken.
        inside: The member that all others stand in.
        any_of: At least one of these members is there.
    """

    name: str
    tag: tuple[str, str]
    model: type
    summary: str
    dialect: Dialect = "standard"
    inside: str | None = None
    any_of: tuple[str, ...] = ()

    def members(self) -> tuple[tuple[str, Member], ...]:
        """Return names on the wire, and the members that bear them."""
        named = [(member.wire_name(self.dialect), member) for member in members_of(self.model)]
        return tuple((name, member) for name, member in named if name is not None)


CONFIG = Message("config", ("type", "config"), Start, "Opens a session in the standard dialect.")
SIMPLE_START = Message(
    "simpleStart", ("signal", "start"), Start, "Opens a session in the simple dialect.", "simple"
)
MARKER = Message(
    "marker",
    ("type", "marker"),
    Marker,
    "Asks to be told when the output has reached this place of the input.",
)
UPDATE = Message(
    "update",
    ("type", "update"),
    Update,
    "Changes voice or pitch shift from the first block boundary after this place.",
    any_of=("voice", "pitch_shift"),
)
END = Message("end", ("type", "end"), End, "No more audio follows.")
SIMPLE_END = Message("simpleEnd", ("signal", "end"), End, "The same as end.", "simple")

CLIENT_MESSAGES = (CONFIG, MARKER, UPDATE, END, SIMPLE_START, SIMPLE_END)

READY = Message("ready", ("type", "ready"), Ready, "The session is open.")
FAILED = Message(
    "error",
    ("type", "error"),
    Failed,
    "The session is over; the connection closes with the code's own.",
)

SERVER_MESSAGES = (
    READY,
    Message(
        "markerReached",
        ("type", "marker"),
        MarkerReached,
        "Follows the output that a marker asked for.",
    ),
    Message(
        "updated",
        ("type", "updated"),
        Updated,
        "Precedes the first output that an update affects.",
    ),
    Message(
        "warning",
        ("type", "warning"),
        Warned,
        "Something went wrong that the session survives; at most one a second.",
    ),
    Message("goingAway", ("type", "going_away"), GoingAway, "The service is about to stop."),
    Message(
        "complete",
        ("type", "complete"),
        Complete,
        "All output has been sent; the connection closes with 1000.",
        inside="stats",
    ),
    FAILED,
    Message(
        "simpleCompleted",
        ("signal", "completed"),
        SimpleCompleted,
        "The same as complete.",
        "simple",
    ),
    Message("simpleFailed", ("status", "failed"), SimpleFailed, "The same as error.", "simple"),
)

_BY_MODEL = {message.model: message for message in SERVER_MESSAGES}


def read(message: Message, content: JsonObject) -> Any:
    """Return the model of a client's message; null is the same as a member left out.

    Raises:
        MessageError: A member is wrong.
    """
    values: dict[str, Any] = {}
    for name, member in _in_order(message):
        value = content.get(name)
        kind = member.asked.kind
        if value is not None or member.default is REQUIRED:
            values[member.name] = kind.read(name, value, values)
        elif isinstance(kind, Rate):
            values[member.name] = kind.left_out(values)
    return message.model(**values)


def to_object(model: object) -> dict[str, Any]:
    """Return a server's message as a JSON object; what is None though it can be left out, is."""
    message = _BY_MODEL[type(model)]
    content: dict[str, Any] = dict([message.tag])
    for name, member in message.members():
        value = getattr(model, member.name)
        if value is None and member.default is None:
            continue
        inside = member.told.inside or message.inside
        place = content if inside is None else content.setdefault(inside, {})
        place[name] = to_json(value) if member.told.kind is VOICE else value
    return content


def to_text(model: object) -> str:
    """Return a server's message as it is sent.

    Raises:
        ValueError: It holds a number that JSON does not have.
    """
    return dump(to_object(model))


def failure(code: str, message: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``error`` message, which is the body of HTTP's errors too; None is left out."""
    known = {name: value for name, value in details.items() if value is not None}
    return to_object(Failed(str(code), message, known))


@cache
def _in_order(message: Message) -> tuple[tuple[str, Member], ...]:
    """Return the members as they are read: rates last, since they depend on an encoding."""
    return tuple(sorted(message.members(), key=lambda item: isinstance(item[1].asked.kind, Rate)))
