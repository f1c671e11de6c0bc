"""The first message of a connection: which dialect it is in, and what it asks for."""

from __future__ import annotations

from fast_vc_service.server.protocols.dialect import Dialect
from fast_vc_service.server.protocols.fields import Fields, JsonObject, MessageError, load_object
from fast_vc_service.server.protocols.simple import SIMPLE
from fast_vc_service.server.protocols.standard import STANDARD, key_in
from fast_vc_service.sessions.errors import ErrorCode, SessionError
from fast_vc_service.sessions.events import Start


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
        return key_in(_load(message))
    except MessageError:
        return None


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
    try:
        return Fields(message).text(dialect.session_id_field)
    except MessageError:
        return None
