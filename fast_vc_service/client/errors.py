"""What goes wrong between a client and the service, in one exception."""

from __future__ import annotations

from collections.abc import Mapping

from fast_vc_service.protocol.codes import ErrorCode

CLIENT_TIMEOUT = "CLIENT_TIMEOUT"
"""The server stayed silent for too long."""

CONNECTION_FAILED = "CONNECTION_FAILED"
"""No connection could be made."""

CONNECTION_LOST = "CONNECTION_LOST"
"""The connection ended before the session did."""

OPUS_UNAVAILABLE = "OPUS_UNAVAILABLE"
"""Opus was asked for and libopus is not installed on the client's machine."""

PROTOCOL_ERROR = "PROTOCOL_ERROR"
"""The server said something that is not in the protocol."""

CODE_OF_CLOSE = {code.close_code: code.value for code in ErrorCode}
"""Error code by WebSocket close code: all that the simple dialect has of one."""


class VoiceServiceError(Exception):
    """A session failed, or never began.

    Attributes:
        code: The server's ``error_code`` (``AUTH_FAILED``, ``BUSY``, ...), ``HTTP_<status>`` when
            the server refused the upgrade, or one of :data:`CLIENT_TIMEOUT`,
            :data:`CONNECTION_FAILED`, :data:`CONNECTION_LOST`, :data:`OPUS_UNAVAILABLE`,
            :data:`PROTOCOL_ERROR`.
        message: One sentence for a person.
        details: What else is known; often ``expected``, ``got`` and ``hint``, with ``BUSY`` and
            ``HTTP_503`` also ``retry_after_s``.
    """

    def __init__(
        self, code: str, message: str, details: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.details = dict(details or {})

    @property
    def hint(self) -> str | None:
        """How to put it right, if that was said."""
        hint = self.details.get("hint")
        return None if hint is None else str(hint)

    def as_dict(self) -> dict[str, object]:
        """Return code, message and details for a JSON file."""
        return {"code": self.code, "message": self.message, "details": self.details}

    def __str__(self) -> str:
        known = [name for name in ("expected", "got") if self.details.get(name) is not None]
        details = [f"{name} {self.details[name]}" for name in known]
        text = "; ".join([f"{self.code}: {self.message}", *details])
        return f"{text}\n{self.hint}" if self.hint else text
