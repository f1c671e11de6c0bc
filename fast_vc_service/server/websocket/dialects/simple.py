"""The simple dialect: ``start`` and ``end`` in, audio and one last word out."""

from __future__ import annotations

from fast_vc_service.server.protocols.dialect import dump
from fast_vc_service.server.protocols.fields import (
    Fields,
    JsonObject,
    MessageError,
    load_object,
    sentence,
    shown,
)
from fast_vc_service.server.protocols.standard import bit_depth, frame_duration_ms, key_in
from fast_vc_service.sessions.errors import SessionError, WarningCode
from fast_vc_service.sessions.events import (
    Complete,
    ControlEvent,
    End,
    Notice,
    Ready,
    Refused,
    Start,
)


class SimpleDialect:
    """Implements :class:`~fast_vc_service.server.protocols.dialect.Dialect`."""

    name = "simple"
    session_id_field = "stream_id"

    def start(self, message: JsonObject) -> Start:
        """See :class:`Dialect`."""
        fields = Fields(message)
        encoding = fields.encoding("encoding")
        return Start(
            session_id=fields.text("stream_id"),
            api_key=key_in(message),
            sample_rate=fields.rate_hz("sample_rate", encoding),
            bit_depth=bit_depth(fields, "sample_bit"),
            encoding=encoding,
            opus_frame_duration=frame_duration_ms(fields),
            sample_rate_out=fields.rate_hz("sample_rate_out", "PCM"),
            voice=fields.voice(),
        )

    def parse(self, text: str) -> ControlEvent:
        """See :class:`Dialect`."""
        try:
            message = load_object(text)
            Fields(message)
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
        return dump({"signal": "completed"}) if isinstance(notice, Complete) else None

    def error(self, error: SessionError, session_id: str | None) -> str:
        """See :class:`Dialect`; what the standard dialect tells as details is in the text here."""
        expected = error.expected
        available = error.extra.get("available")
        if isinstance(available, list):
            expected = f"one of {', '.join(map(str, available))}"
        return dump(
            {
                "status": "failed",
                "stream_id": session_id,
                "error_msg": sentence(error.message, expected, error.got, error.hint),
            }
        )


SIMPLE = SimpleDialect()
