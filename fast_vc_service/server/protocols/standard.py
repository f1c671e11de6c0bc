"""The standard dialect: ``config``, ``ready``, ``marker``, ``update``, ``end``, ``complete``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, assert_never

from fast_vc_service.engine.blend import told
from fast_vc_service.server.protocols.dialect import dump
from fast_vc_service.server.protocols.fields import (
    Fields,
    JsonObject,
    MessageError,
    is_unicode,
    load_object,
    shown,
    whole,
)
from fast_vc_service.sessions.errors import SessionError, WarningCode
from fast_vc_service.sessions.events import (
    Complete,
    ControlEvent,
    End,
    GoingAway,
    Marker,
    MarkerReached,
    Notice,
    Ready,
    Refused,
    Start,
    Update,
    Updated,
    Warned,
)

BIT_DEPTHS = (16, 24, 32)
BITRATES = (6_000, 510_000)
MAX_PITCH_SHIFT = 24.0
FRAME_DURATIONS_MS = (2.5, 120.0)
MAX_MARKER_CHARS = 64
INT64 = (-(2**63), 2**63 - 1)


class StandardDialect:
    """Implements :class:`~fast_vc_service.server.protocols.dialect.Dialect`."""

    name = "standard"
    session_id_field = "session_id"

    def start(self, message: JsonObject) -> Start:
        """See :class:`Dialect`."""
        fields = Fields(message)
        _check_type(message)
        encoding = fields.encoding("encoding")
        encoding_out = fields.encoding("encoding_out")
        fields.choice("channels", 1, (1,), "mix down to mono before sending")
        return Start(
            session_id=fields.text("session_id"),
            api_key=key_in(message),
            sample_rate=fields.rate_hz("sample_rate", encoding),
            bit_depth=bit_depth(fields, "bit_depth"),
            encoding=encoding,
            opus_frame_duration=frame_duration_ms(fields),
            sample_rate_out=fields.rate_hz("sample_rate_out", encoding_out),
            encoding_out=encoding_out,
            bitrate_out=fields.integer("bitrate_out", 32_000, *BITRATES),
            voice=fields.voice(),
            pitch_shift=fields.number("pitch_shift", 0.0, -MAX_PITCH_SHIFT, MAX_PITCH_SHIFT),
            trim_delay=fields.flag("trim_delay") is not False,
            realtime=fields.flag("realtime") is not False,
            seed=fields.integer("seed", 0, *INT64),
            record=fields.flag("record"),
        )

    def parse(self, text: str) -> ControlEvent:
        """See :class:`Dialect`."""
        try:
            message = load_object(text)
            fields = Fields(message)
        except MessageError as error:
            return Refused(WarningCode.UNKNOWN_MESSAGE, str(error))
        match message.get("type"):
            case "end":
                return End()
            case "marker":
                return _marker(message.get("id"))
            case "update":
                return _update(fields)
            case "config":
                return Refused(
                    WarningCode.UNKNOWN_MESSAGE,
                    "a second config changes nothing; send update, or open a new connection",
                )
            case kind:
                return Refused(
                    WarningCode.UNKNOWN_MESSAGE,
                    f'type: expected "marker", "update" or "end", got {shown(kind)}',
                )

    def ready(self, ready: Ready) -> str:
        """See :class:`Dialect`."""
        members = {**asdict(ready), "voice": told(ready.voice)}
        limits = {
            name: members.pop(name)
            for name in (
                "max_message_bytes",
                "idle_timeout_s",
                "max_session_s",
                "max_buffered_ms",
            )
        }
        version = members.pop("server_version")
        return dump({"type": "ready", **members, "limits": limits, "server_version": version})

    def notice(self, notice: Notice) -> str:
        """See :class:`Dialect`."""
        match notice:
            case MarkerReached():
                return _message("marker", notice)
            case Updated():
                return dump({"type": "updated", **asdict(notice), "voice": told(notice.voice)})
            case Warned():
                return _message("warning", notice)
            case GoingAway():
                return _message("going_away", notice)
            case Complete():
                return dump({"type": "complete", "stats": asdict(notice)})
            case _:
                assert_never(notice)

    def error(self, error: SessionError, session_id: str | None) -> str:  # noqa: ARG002
        """See :class:`Dialect`."""
        details: dict[str, Any] = {
            "expected": error.expected,
            "got": error.got,
            "hint": error.hint,
            **error.extra,
        }
        return dump(
            {
                "type": "error",
                "error_code": error.code,
                "message": error.message,
                "details": {name: value for name, value in details.items() if value is not None},
            }
        )


STANDARD = StandardDialect()


def key_in(message: JsonObject) -> str | None:
    """Return the API key of a first message.

    A value that is no string is no key, but not an error either: a server without keys lets any
    value pass.
    """
    value = message.get("api_key")
    return value if isinstance(value, str) else None


def bit_depth(fields: Fields, name: str) -> int:
    """Return the PCM sample size in bits."""
    return fields.choice(name, 16, BIT_DEPTHS, "convert the samples before sending")


def frame_duration_ms(fields: Fields) -> float:
    """Return the announced packet duration; a hint, so no more than in a packet's range."""
    return fields.number("opus_frame_duration", 20, *FRAME_DURATIONS_MS)


def _check_type(message: JsonObject) -> None:
    kind = message.get("type")
    if kind == "config":
        return
    raise MessageError(
        "the first message is no config",
        expected='type "config"',
        got=f"type {shown(kind)}" if kind is not None else "no type",
        hint='send {"type": "config", ...} before anything else',
    )


def _marker(value: object) -> ControlEvent:
    if isinstance(value, str) and len(value) <= MAX_MARKER_CHARS and is_unicode(value):
        return Marker(value)
    number = whole(value)
    if number is not None and INT64[0] <= number <= INT64[1]:
        return Marker(number)
    return Refused(
        WarningCode.UNKNOWN_MESSAGE,
        f"marker id: expected a string of at most {MAX_MARKER_CHARS} characters or a 64-bit "
        f"integer, got {shown(value)}",
    )


def _update(fields: Fields) -> ControlEvent:
    try:
        voice = fields.voice()
        pitch_shift = (
            fields.number("pitch_shift", 0.0, -MAX_PITCH_SHIFT, MAX_PITCH_SHIFT)
            if fields.has("pitch_shift")
            else None
        )
    except MessageError as error:
        return Refused(WarningCode.INVALID_UPDATE, str(error))
    if voice is None and pitch_shift is None:
        return Refused(
            WarningCode.INVALID_UPDATE, "update: expected voice or pitch_shift, got neither"
        )
    return Update(voice, pitch_shift)


def _message(kind: str, notice: MarkerReached | Warned | GoingAway) -> str:
    return dump({"type": kind, **asdict(notice)})
