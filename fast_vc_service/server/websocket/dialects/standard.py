"""The standard dialect: ``config``, ``ready``, ``marker``, ``update``, ``end``, ``complete``."""

from __future__ import annotations

from fast_vc_service.protocol import wire
from fast_vc_service.protocol.codes import WarningCode
from fast_vc_service.protocol.json_text import (
    JsonObject,
    MessageError,
    dump,
    load_object,
    refuse_repeated,
    shown,
)
from fast_vc_service.protocol.messages import End, Marker, Notice, Update
from fast_vc_service.protocol.opening import Ready, Start
from fast_vc_service.server.websocket.dialects.dialect import ControlEvent, Refused
from fast_vc_service.sessions.errors import SessionError


class StandardDialect:
    """Implements :class:`~fast_vc_service.server.websocket.dialects.dialect.Dialect`."""

    name = "standard"
    opening = wire.CONFIG

    def start(self, message: JsonObject) -> Start:
        """See :class:`Dialect`."""
        refuse_repeated(message)
        _check_type(message)
        start: Start = wire.read(wire.CONFIG, message)
        return start

    def parse(self, text: str) -> ControlEvent:
        """See :class:`Dialect`."""
        try:
            message = load_object(text)
            refuse_repeated(message)
        except MessageError as error:
            return Refused(WarningCode.UNKNOWN_MESSAGE, str(error))
        match message.get("type"):
            case "end":
                return End()
            case "marker":
                return _marker(message)
            case "update":
                return _update(message)
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
        return wire.to_text(ready)

    def notice(self, notice: Notice) -> str:
        """See :class:`Dialect`."""
        return wire.to_text(notice)

    def error(self, error: SessionError, session_id: str | None) -> str:  # noqa: ARG002
        """See :class:`Dialect`."""
        details = {
            "expected": error.expected,
            "got": error.got,
            "hint": error.hint,
            **error.extra,
        }
        return dump(wire.failure(error.code, error.message, details))


STANDARD = StandardDialect()


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


def _marker(message: JsonObject) -> ControlEvent:
    try:
        marker: Marker = wire.read(wire.MARKER, message)
    except MessageError as error:
        return Refused(WarningCode.UNKNOWN_MESSAGE, str(error))
    return marker


def _update(message: JsonObject) -> ControlEvent:
    try:
        update: Update = wire.read(wire.UPDATE, message)
    except MessageError as error:
        return Refused(WarningCode.INVALID_UPDATE, str(error))
    if update == Update():
        return Refused(
            WarningCode.INVALID_UPDATE, "update: expected voice or pitch_shift, got neither"
        )
    return update
