"""The first message of a connection: which dialect it is in, and what it asks for."""

from __future__ import annotations

from fast_vc_service.protocol.codes import ErrorCode
from fast_vc_service.protocol.json_text import (
    JsonObject,
    MessageError,
    load_object,
    refuse_repeated,
)
from fast_vc_service.protocol.opening import Start
from fast_vc_service.protocol.values import NAME
from fast_vc_service.server.websocket.dialects.dialect import Dialect
from fast_vc_service.server.websocket.dialects.simple import SIMPLE
from fast_vc_service.server.websocket.dialects.standard import STANDARD
from fast_vc_service.sessions.errors import SessionError


class FirstMessageError(SessionError):
    """The first message is wrong (INVALID_CONFIG).

    Attributes:
        dialect: The dialect to answer in.
        session_id: What the client calls its session, when at least that was readable.
    """

    def __init__(self, error: MessageError, dialect: Dialect, session_id: str | None) -> None:
        super().__init__(
            ErrorCode.INVALID_CONFIG,
            error.message,
            expected=error.expected,
            got=error.got,
            hint=error.hint,
        )
        self.dialect = dialect
        self.session_id = session_id


def parse_first(message: str | bytes) -> tuple[Dialect, Start]:
    """Read the first message; ``signal`` equal to ``"start"`` means the simple dialect.

    Raises:
        FirstMessageError: It is wrong or binary; nothing else is ever raised.
    """
    dialect: Dialect = STANDARD
    fields: JsonObject = JsonObject()
    try:
        fields = _load(message)
        if fields.get("signal") == "start":
            dialect = SIMPLE
        return dialect, dialect.start(fields)
    except MessageError as error:
        raise FirstMessageError(error, dialect, _session_id(dialect, fields)) from None


def presented_key(message: str | bytes) -> str | None:
    """Return the API key in a first message, however wrong the rest of it is."""
    try:
        value = _load(message).get("api_key")
    except MessageError:
        return None
    return value if isinstance(value, str) else None


def _load(message: str | bytes) -> JsonObject:
    if isinstance(message, str):
        return load_object(message)
    raise MessageError(
        "the first message is binary",
        expected="a text message with a JSON object",
        got=f"{len(message)} bytes",
        hint='send {"type": "config", ...} before audio',
    )


def _session_id(dialect: Dialect, message: JsonObject) -> str | None:
    """Return what the client calls its session, if that can be read."""
    named = {member.name: name for name, member in dialect.opening.members()}
    value = message.get(named["session_id"])
    try:
        refuse_repeated(message)
        return None if value is None else NAME.read("session_id", value, {})
    except MessageError:
        return None
