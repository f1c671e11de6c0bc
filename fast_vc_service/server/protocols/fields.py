"""Strict reading of one JSON object from the network; every refusal names the field.

Types are strict: a bool is no number and ``"16000"`` is no integer, while ``16000.0`` is one. JSON
null is the same as an absent field; unknown fields are never looked at.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any, NoReturn

from fast_vc_service.engine.blend import RULE, BlendError, blend_name
from fast_vc_service.engine.voices import normal_name
from fast_vc_service.sessions.events import Encoding

MAX_TEXT_CHARS = 64 * 1024
"""Longest text message that is parsed at all; bounds the time one message can cost."""

MAX_NAME_CHARS = 128
PCM_RATES_HZ = (8_000, 48_000)
OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)

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


def whole(value: object) -> int | None:
    """Return ``value`` as an int when it is a JSON number without a fraction, else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def is_unicode(text: str) -> bool:
    """Tell whether ``text`` can be sent on: JSON escapes may hold half a surrogate pair."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


class Fields:
    """Typed access to the fields of one message.

    Every method raises :class:`MessageError` when the field is there but wrong.

    Raises:
        MessageError: A key comes twice, so that nobody can tell which value is meant.
    """

    def __init__(self, message: JsonObject) -> None:
        if message.repeated is not None:
            raise MessageError(
                f"the key {shown(message.repeated)} comes twice",
                expected="each key once",
                got="two values for one key",
                hint="leave one of them out",
            )
        self._message = message

    def has(self, name: str) -> bool:
        """Tell whether the field is there and not null."""
        return self._message.get(name) is not None

    def text(self, name: str) -> str | None:
        """Return a name: 1 to 128 code points, no control characters; None when absent."""
        value = self._message.get(name)
        if value is None:
            return None
        expected = f"a string of 1 to {MAX_NAME_CHARS} characters without control characters"
        if not isinstance(value, str):
            _wrong_type(name, expected, value)
        if not 1 <= len(value) <= MAX_NAME_CHARS:
            _out_of_range(name, expected, shown(value), f"leave {name} out, or send {expected}")
        if not is_unicode(value) or any(unicodedata.category(char) == "Cc" for char in value):
            raise MessageError(
                f"{name} has characters that cannot be used",
                expected=expected,
                got=shown(value),
                hint="leave out control characters and unpaired surrogates",
            )
        return value

    def voice(self) -> str | None:
        """Return the name of the voice, or of the blend, that ``voice`` asks for."""
        value = self._message.get("voice")
        if not isinstance(value, dict):
            return self.text("voice")
        if isinstance(value, JsonObject) and value.repeated is not None:
            raise MessageError(
                f"voice has the voice {shown(value.repeated)} twice",
                expected="each voice once",
                got="two weights for one voice",
                hint="add them up",
            )
        try:
            return blend_name({normal_name(part): weight for part, weight in value.items()})
        except BlendError as error:
            raise MessageError(
                "voice is no blend",
                expected=RULE,
                got="an object",
                hint=str(error),
            ) from None

    def integer(self, name: str, default: int, low: int, high: int, hint: str | None = None) -> int:
        """Return a whole number from ``low`` to ``high``."""
        value = self._message.get(name)
        if value is None:
            return default
        expected = f"a whole number from {low} to {high}"
        number = whole(value)
        if number is None:
            _wrong_type(name, expected, value)
        if not low <= number <= high:
            _out_of_range(name, expected, shown(value), hint or _default_hint(name, default))
        return number

    def choice(self, name: str, default: int, allowed: Sequence[int], hint: str) -> int:
        """Return one of the whole numbers ``allowed``."""
        value = self._message.get(name)
        if value is None:
            return default
        *most, last = map(str, allowed)
        expected = f"{', '.join(most)} or {last}" if most else last
        number = whole(value)
        if number is None:
            _wrong_type(name, expected, value)
        if number not in allowed:
            _out_of_range(name, expected, shown(value), hint)
        return number

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return a number from ``low`` to ``high``."""
        value = self._message.get(name)
        if value is None:
            return default
        expected = f"a number from {low:g} to {high:g}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            _wrong_type(name, expected, value)
        # Compared before it is converted: an int may be too large for a float.
        if not low <= value <= high:
            _out_of_range(name, expected, shown(value), _default_hint(name, default))
        return float(value)

    def flag(self, name: str) -> bool | None:
        """Return a boolean; None when absent."""
        value = self._message.get(name)
        if value is not None and not isinstance(value, bool):
            _wrong_type(name, "true or false", value)
        return value

    def encoding(self, name: str) -> Encoding:
        """Return an audio encoding, written in any case; PCM when absent."""
        value = self._message.get(name)
        if value is None:
            return "PCM"
        expected = '"PCM" or "OPUS"'
        if not isinstance(value, str):
            _wrong_type(name, expected, value)
        if value.upper() == "PCM":
            return "PCM"
        if value.upper() == "OPUS":
            return "OPUS"
        raise MessageError(
            f"{name} is not known",
            expected=expected,
            got=shown(value),
            hint="convert the audio to raw PCM or Opus packets",
        )

    def rate_hz(self, name: str, encoding: Encoding) -> int:
        """Return a sample rate that ``encoding`` allows; 16000 when absent."""
        if encoding == "OPUS":
            return self.choice(name, 16_000, OPUS_RATES_HZ, "Opus knows no other rates")
        return self.integer(name, 16_000, *PCM_RATES_HZ, hint="resample before sending")


def _wrong_type(name: str, expected: str, value: object) -> NoReturn:
    quoted = isinstance(value, str) and value.strip().lower() in {"true", "false"}
    if isinstance(value, str) and (quoted or value.strip().replace(".", "", 1).isdigit()):
        hint = "send the value without quotes"
    else:
        hint = f"leave {name} out, or send {expected}"
    raise MessageError(f"{name} has the wrong type", expected=expected, got=shown(value), hint=hint)


def _out_of_range(name: str, expected: str, got: str, hint: str) -> NoReturn:
    raise MessageError(f"{name} is out of range", expected=expected, got=got, hint=hint)


def _default_hint(name: str, default: float) -> str:
    return f"leave {name} out for the default, {default}"


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
