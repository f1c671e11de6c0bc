"""JSON Schemas of the messages."""

from __future__ import annotations

import re
from typing import Any

from fast_vc_service.protocol.codes import ErrorCode
from fast_vc_service.protocol.members import REQUIRED, Asked, Member
from fast_vc_service.protocol.values import Rate, Schema
from fast_vc_service.protocol.wire import CLIENT_MESSAGES, FAILED, Message


def schema_of(message: Message) -> Schema:
    """Return the schema of a message; the server's have no other members than theirs."""
    from_client = message in CLIENT_MESSAGES
    tag, value = message.tag
    places: dict[str | None, Schema] = {None: {tag: {"const": value}}}
    required: dict[str | None, list[str]] = {None: [tag]}
    for name, member in message.members():
        inside = None if from_client else member.told.inside or message.inside
        if inside is not None and inside not in places:
            places[inside], required[inside] = {}, []
            required[None].append(inside)
        places[inside][name] = _member_schema(member)
        if member.default is REQUIRED:
            required[inside].append(name)
    for inside, properties in places.items():
        if inside is not None:
            places[None][inside] = _object(properties, required[inside], closed=True)
    schema = _object(places[None], required[None], closed=not from_client)
    if message.any_of:
        schema["anyOf"] = [{"required": [name]} for name in message.any_of]
    if message is FAILED:
        closes = ", ".join(f"{code} {code.close_code}" for code in ErrorCode)
        schema["properties"]["error_code"]["description"] = f"Close codes: {closes}."
    return schema


def plain(text: str) -> str:
    """Return Markdown of the documentation as a sentence of plain text."""
    words = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text).replace("\u2212", "-").replace("`", "")
    if not words:
        return ""
    start = words[0] if text.startswith(("`", "ms ")) else words[0].upper()
    return f"{start}{words[1:].rstrip('.')}."


def english(member: Member) -> str:
    """Return what a member means in English Markdown, with the bounds of its kind."""
    return fill(member.about.words.en, member, lambda names: _either(names, ", ", " or "))


def chinese(member: Member) -> str:
    """Return what a member means in Chinese Markdown, with the bounds of its kind."""
    return fill(member.about.words.zh, member, lambda names: _either(names, "、", " 或 "))


def fill(text: str, member: Member, either: Any) -> str:
    """Put the bounds of a member's kind into a text about it."""
    kind = member.about.kind
    facts: dict[str, str] = {}
    for name in ("low", "high", "longest", "allowed", "telephone"):
        value = getattr(kind, name, None)
        if isinstance(value, tuple):
            facts[name] = either([str(item) for item in value])
        elif value is not None:
            facts[name] = f"{value:g}" if isinstance(value, float) else str(value)
            facts[name] = facts[name].replace("-", "\u2212")
    return text.format_map(facts)


def _either(names: list[str], comma: str, last: str) -> str:
    return last.join([comma.join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _member_schema(member: Member) -> Schema:
    about = member.about
    schema = dict(about.kind.schema)
    if isinstance(about, Asked) and member.default not in (None, REQUIRED):
        schema["default"] = member.default
    words = plain(english(member))
    if isinstance(about.kind, Rate) and str(about.kind.allowed[0]) not in words:
        words = f"{words} With OPUS {_either([str(r) for r in about.kind.allowed], ', ', ' or ')}."
    if words:
        schema["description"] = words
    return schema


def _object(properties: Schema, required: list[str], *, closed: bool) -> Schema:
    made: Schema = {"type": "object", "properties": properties, "required": required}
    return {**made, "additionalProperties": False} if closed else made
