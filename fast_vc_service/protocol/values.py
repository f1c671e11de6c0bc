"""Kinds of values: which of them are right, and how schemas and types of other languages say so.

Types are strict: a bool is no number and ``"16000"`` is no integer, while ``16000.0`` is one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from fast_vc_service.protocol.checks import (
    chosen_number,
    default_hint,
    is_unicode,
    out_of_range,
    whole,
    whole_number,
    wrong_type,
)
from fast_vc_service.protocol.json_text import JsonObject, MessageError, shown
from fast_vc_service.protocol.limits import (
    ENCODINGS,
    G711_ENCODINGS,
    G711_RATES_HZ,
    INT64,
    MAX_MARKER_CHARS,
    MAX_NAME_CHARS,
    MOST_VOICES,
    OPUS_RATES_HZ,
    PCM_RATES_HZ,
    Encoding,
    implied_rate_hz,
)
from fast_vc_service.protocol.voice_choice import (
    RULE,
    BlendError,
    VoiceChoice,
    choose,
    named_by,
    normal_name,
)

DefaultT = TypeVar("DefaultT", bound=float | None)

Schema = dict[str, Any]
Read = Mapping[str, Any]
"""Members of the same message that were read before."""


class Shape(Protocol):
    """What a member of a message is."""

    @property
    def schema(self) -> Schema:
        """Its JSON Schema, without default and description."""
        ...


class Kind(Shape, Protocol):
    """What a member that a client sends may be."""

    @property
    def default(self) -> Any:
        """What stands for it when it is left out."""
        ...

    def read(self, name: str, value: Any, others: Read) -> Any:
        """Return ``value``, which is not None, as the model holds it.

        Raises:
            MessageError: It is wrong.
        """
        ...


class Name(NamedTuple):
    """A string of bounded length, without control characters."""

    longest: int = MAX_NAME_CHARS
    default: None = None

    @property
    def schema(self) -> Schema:
        """See :class:`Kind`."""
        return {"type": "string", "minLength": 1, "maxLength": self.longest}

    def read(self, name: str, value: Any, others: Read) -> str:  # noqa: ARG002
        """See :class:`Kind`."""
        expected = f"a string of 1 to {self.longest} characters without control characters"
        if not isinstance(value, str):
            wrong_type(name, expected, value)
        if not 1 <= len(value) <= self.longest:
            out_of_range(name, expected, value, f"leave {name} out, or send {expected}")
        if not is_unicode(value) or any(unicodedata.category(char) == "Cc" for char in value):
            raise MessageError(
                f"{name} has characters that cannot be used",
                expected=expected,
                got=shown(value),
                hint="leave out control characters and unpaired surrogates",
            )
        return value


class Key(NamedTuple):
    """An API key. What is no string is no key, but no error: a server may want none."""

    default: None = None

    @property
    def schema(self) -> Schema:
        """See :class:`Kind`."""
        return {"type": "string"}

    def read(self, name: str, value: Any, others: Read) -> str | None:  # noqa: ARG002
        """See :class:`Kind`."""
        return value if isinstance(value, str) else None


class Voice(NamedTuple):
    """A voice's name, or a blend."""

    default: None = None

    @property
    def schema(self) -> Schema:
        """See :class:`Kind`."""
        blend = {
            "type": "object",
            "minProperties": 1,
            "maxProperties": MOST_VOICES,
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
        }
        return {"oneOf": [NAME.schema, blend]}

    def read(self, name: str, value: Any, others: Read) -> VoiceChoice:
        """See :class:`Kind`."""
        if not isinstance(value, dict):
            return named_by(NAME.read(name, value, others))
        if isinstance(value, JsonObject) and value.repeated is not None:
            raise MessageError(
                f"{name} has the voice {shown(value.repeated)} twice",
                expected="each voice once",
                got="two weights for one voice",
                hint="add them up",
            )
        try:
            return choose({normal_name(part): weight for part, weight in value.items()})
        except BlendError as error:
            raise MessageError(
                f"{name} is no blend", expected=RULE, got="an object", hint=str(error)
            ) from None


class Whole(NamedTuple):
    """A whole number from ``low`` to ``high``."""

    low: int
    high: int
    default: int

    @property
    def schema(self) -> Schema:
        """See :class:`Kind`."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}

    def read(self, name: str, value: Any, others: Read) -> int:  # noqa: ARG002
        """See :class:`Kind`."""
        return whole_number(name, value, self.low, self.high, default_hint(name, self.default))


class Choice(NamedTuple):
    """One of the whole numbers ``allowed``."""

    allowed: tuple[int, ...]
    default: int
    hint: str

    @property
    def schema(self) -> Schema:
        """See :class:`Kind`."""
        one = len(self.allowed) == 1
        return {"const": self.allowed[0]} if one else {"enum": list(self.allowed)}

    def read(self, name: str, value: Any, others: Read) -> int:  # noqa: ARG002
        """See :class:`Kind`."""
        return chosen_number(name, value, self.allowed, self.hint)


class Number(NamedTuple, Generic[DefaultT]):
    """A number from ``low`` to ``high``; with the default None there is none."""

    low: float
    high: float
    default: DefaultT

    @property
    def schema(self) -> Schema:
        """See :class:`Kind`."""
        return {"type": "number", "minimum": self.low, "maximum": self.high}

    def read(self, name: str, value: Any, others: Read) -> float:  # noqa: ARG002
        """See :class:`Kind`."""
        expected = f"a number from {self.low:g} to {self.high:g}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            wrong_type(name, expected, value)
        # Compared before it is converted: an int may be too large for a float.
        if not self.low <= value <= self.high:
            if self.default is None:
                hint = f"leave {name} out, or send {expected}"
            else:
                hint = default_hint(name, self.default)
            out_of_range(name, expected, value, hint)
        return float(value)


class Flag(NamedTuple):
    """True or false."""

    default: bool | None

    @property
    def schema(self) -> Schema:
        """See :class:`Kind`."""
        return {"type": "boolean"}

    def read(self, name: str, value: Any, others: Read) -> bool:  # noqa: ARG002
        """See :class:`Kind`."""
        if not isinstance(value, bool):
            wrong_type(name, "true or false", value)
        return value


class EncodingName(NamedTuple):
    """An audio encoding, written in any case."""

    default: Encoding = "PCM"

    @property
    def schema(self) -> Schema:
        """See :class:`Kind`."""
        return {"enum": list(ENCODINGS)}

    def read(self, name: str, value: Any, others: Read) -> Encoding:  # noqa: ARG002
        """See :class:`Kind`."""
        *most, last = (f'"{encoding}"' for encoding in ENCODINGS)
        expected = f"{', '.join(most)} or {last}"
        if not isinstance(value, str):
            wrong_type(name, expected, value)
        if value.upper() not in ENCODINGS:
            raise MessageError(
                f"{name} is not known",
                expected=expected,
                got=shown(value),
                hint="convert the audio to raw PCM, Opus packets or G.711",
            )
        return cast("Encoding", value.upper())


class Rate(NamedTuple):
    """A sample rate in Hz; its member ``encoding`` says which are right.

    Attributes:
        encoding: The member that names the encoding.
        default: Of PCM and Opus; G.711 has one rate, which need not be told.
        low, high: Of PCM.
        allowed: Of Opus.
        telephone: Of G.711.
    """

    encoding: str
    default: int
    low: int = PCM_RATES_HZ[0]
    high: int = PCM_RATES_HZ[1]
    allowed: tuple[int, ...] = OPUS_RATES_HZ
    telephone: tuple[int, ...] = G711_RATES_HZ

    @property
    def schema(self) -> Schema:
        """See :class:`Kind`."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}

    def left_out(self, others: Read) -> int:
        """Return what stands for it beside ``others`` when it is left out."""
        return implied_rate_hz(others.get(self.encoding, ENCODINGS[0]))

    def read(self, name: str, value: Any, others: Read) -> int:
        """See :class:`Kind`."""
        if others.get(self.encoding) in G711_ENCODINGS:
            return chosen_number(name, value, self.telephone, "G.711 knows no other rate")
        if others.get(self.encoding) == "OPUS":
            return chosen_number(name, value, self.allowed, "Opus knows no other rates")
        return whole_number(name, value, self.low, self.high, "resample before sending")


class MarkerId(NamedTuple):
    """What a marker is told by: a short string or a 64-bit integer."""

    default: None = None

    @property
    def schema(self) -> Schema:
        """See :class:`Kind`."""
        return {
            "oneOf": [
                {"type": "string", "maxLength": MAX_MARKER_CHARS},
                {"type": "integer", "minimum": INT64[0], "maximum": INT64[1]},
            ]
        }

    def read(self, name: str, value: Any, others: Read) -> str | int:  # noqa: ARG002
        """See :class:`Kind`."""
        if isinstance(value, str) and len(value) <= MAX_MARKER_CHARS and is_unicode(value):
            return value
        number = whole(value)
        if number is not None and INT64[0] <= number <= INT64[1]:
            return number
        raise MessageError(
            f"marker {name}",
            expected=f"a string of at most {MAX_MARKER_CHARS} characters or a 64-bit integer",
            got=shown(value),
            hint="",
        )


class Said(NamedTuple):
    """What a member that the server sends is."""

    schema: Schema


NAME = Name()
VOICE = Voice()
TEXT = Said({"type": "string"})
TRUTH = Said({"type": "boolean"})
NUMBER = Said({"type": "number"})
COUNT = Said({"type": "integer", "minimum": 0})
MILLISECONDS = Said({"type": "number", "minimum": 0})
