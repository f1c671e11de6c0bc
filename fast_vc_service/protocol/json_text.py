"""Strict reading of one JSON object from the network; every refusal says what was expected.

JSON null is the same as an absent member; unknown members are never looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from fast_vc_service.protocol.limits import MAX_TEXT_CHARS

_SHOWN_CHARS = 40


class MessageError(ValueError):
    """A message is wrong: what was expected, what came, how to put it right."""

    def __init__(self, message: str, *, expected: str, got: str, hint: str) -> None:
        super().__init__(sentence(message, expected, got, hint))
        self.message = message
        self.expected = expected
        self.got = got
        self.hint = hint


class JsonObject(dict[str, Any]):
    """A JSON object that remembers whether one of its keys came twice."""

    repeated: str | None = None


def sentence(message: str, expected: str | None, got: str | None, hint: str | None) -> str:
    """Return all that is known of an error in one line."""
    parts = [f"expected {expected}" if expected else "", f"got {got}" if got else ""]
    detail = ", ".join(part for part in parts if part)
    return message + (f": {detail}" if detail else "") + (f"; {hint}" if hint else "")


def load_object(text: str) -> JsonObject:
    """Parse ``text``, which must be one JSON object (RFC 8259: no NaN, no Infinity).

    Raises:
        MessageError: It is not, or it is too long or too deep to look at.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise MessageError(
            "the text message is too long",
            expected=f"at most {MAX_TEXT_CHARS} characters",
            got=f"{len(text)} characters",
            hint="send audio as binary messages",
        )
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise MessageError(
            "the text message is not JSON",
            expected="one JSON object",
            got=_complaint(error),
            hint="send audio as binary messages, everything else as JSON",
        ) from None
    if not isinstance(value, JsonObject):
        raise MessageError(
            "the text message is not a JSON object",
            expected="one JSON object",
            got=shown(value),
            hint='put the fields between { and }, as in {"type": "config"}',
        )
    return value


def shown(value: object) -> str:
    """Return ``value`` as JSON, shortened; arrays and objects only by name."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str) and len(value) > _SHOWN_CHARS:
        return f"{json.dumps(value[:_SHOWN_CHARS])}... ({len(value)} characters)"
    text = json.dumps(value)
    return text if len(text) <= 8 * _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}... (a long number)"


def dump(message: Mapping[str, Any]) -> str:
    """Return ``message`` as JSON, ASCII only, so that no text whatever can break the frame."""
    return json.dumps(message, allow_nan=False)


def refuse_repeated(message: JsonObject) -> None:
    """Refuse a message in which a key comes twice: nobody can tell which value is meant.

    Raises:
        MessageError: One does.
    """
    if message.repeated is not None:
        raise MessageError(
            f"the key {shown(message.repeated)} comes twice",
            expected="each key once",
            got="two values for one key",
            hint="leave one of them out",
        )


def _complaint(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    if isinstance(error, RecursionError):
        return "values nested too deeply"
    return "a number that is none in JSON"


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    made = JsonObject(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                made.repeated = key
                break
            seen.add(key)
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
