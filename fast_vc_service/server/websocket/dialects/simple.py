"""The simple dialect: ``start`` and ``end`` in, audio and one last word out."""

from __future__ import annotations

from fast_vc_service.protocol import wire
from fast_vc_service.protocol.codes import WarningCode
from fast_vc_service.protocol.json_text import (
    JsonObject,
    MessageError,
    load_object,
    refuse_repeated,
    sentence,
    shown,
)
from fast_vc_service.protocol.messages import Complete, End, Notice, SimpleCompleted, SimpleFailed
from fast_vc_service.protocol.opening import Ready, Start
from fast_vc_service.server.websocket.dialects.dialect import ControlEvent, Refused
from fast_vc_service.sessions.errors import SessionError


class SimpleDialect:
    """Implements :class:`~fast_vc_service.server.websocket.dialects.dialect.Dialect`."""

    name = "simple"
    opening = wire.SIMPLE_START

    def start(self, message: JsonObject) -> Start:
        """See :class:`Dialect`."""
        refuse_repeated(message)
        start: Start = wire.read(wire.SIMPLE_START, message)
        return start

    def parse(self, text: str) -> ControlEvent:
        """See :class:`Dialect`."""
        try:
            message = load_object(text)
            refuse_repeated(message)
        except MessageError as error:
            return Refused(WarningCode.UNKNOWN_MESSAGE, str(error))
        signal = message.get("signal")
        if signal == "end":
            return End()
        return Refused(WarningCode.UNKNOWN_MESSAGE, f'signal: expected "end", got {shown(signal)}')

    def ready(self, ready: Ready) -> None:
        """Say nothing: in this dialect audio may follow the first message at once."""

    def notice(self, notice: Notice) -> str | None:
        """See :class:`Dialect`; all but the end is kept from these clients."""
        if not isinstance(notice, Complete):
            return None
        return wire.to_text(SimpleCompleted(notice.source_f0_hz))

    def error(self, error: SessionError, session_id: str | None) -> str:
        """See :class:`Dialect`; what the standard dialect tells as details is in the text here."""
        expected = error.expected
        available = error.extra.get("available")
        if isinstance(available, list):
            expected = f"one of {', '.join(map(str, available))}"
        text = sentence(error.message, expected, error.got, error.hint)
        return wire.to_text(SimpleFailed(session_id, text))


SIMPLE = SimpleDialect()
