"""What can end or trouble a session, in the wire's own words (spec: WebSocket protocol)."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Error codes that end a session."""

    INVALID_CONFIG = "INVALID_CONFIG"
    AUTH_FAILED = "AUTH_FAILED"
    UNKNOWN_VOICE = "UNKNOWN_VOICE"
    TIMEOUT = "TIMEOUT"
    SESSION_LIMIT = "SESSION_LIMIT"
    SLOW_READER = "SLOW_READER"
    INVALID_AUDIO = "INVALID_AUDIO"
    BUSY = "BUSY"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    GOING_AWAY = "GOING_AWAY"

    @property
    def close_code(self) -> int:
        """The WebSocket close code that goes with the error."""
        return _CLOSE_CODES[self]


_CLOSE_CODES = {
    ErrorCode.INVALID_CONFIG: 4400,
    ErrorCode.AUTH_FAILED: 4401,
    ErrorCode.UNKNOWN_VOICE: 4404,
    ErrorCode.TIMEOUT: 4408,
    ErrorCode.SESSION_LIMIT: 4410,
    ErrorCode.SLOW_READER: 4413,
    ErrorCode.INVALID_AUDIO: 4415,
    ErrorCode.BUSY: 4429,
    ErrorCode.INTERNAL_ERROR: 1011,
    ErrorCode.GOING_AWAY: 1012,
}


class WarningCode(StrEnum):
    """Warnings; the session goes on."""

    LATE = "LATE"
    CORRUPT_AUDIO = "CORRUPT_AUDIO"
    PARTIAL_SAMPLE = "PARTIAL_SAMPLE"
    TOO_MANY_MARKERS = "TOO_MANY_MARKERS"
    UNKNOWN_VOICE = "UNKNOWN_VOICE"
    INVALID_UPDATE = "INVALID_UPDATE"
    UNKNOWN_MESSAGE = "UNKNOWN_MESSAGE"
    CONVERSION_FAILED = "CONVERSION_FAILED"


class SessionError(Exception):
    """Ends a session with an error the client is told.

    Attributes:
        code: The error code; it carries the close code.
        message: One sentence for a person.
        expected: What would have been right.
        got: What came instead.
        hint: How to put it right.
        extra: Further members of ``details`` (``available``, ``retry_after_s``).
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        expected: str | None = None,
        got: str | None = None,
        hint: str | None = None,
        **extra: object,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.expected = expected
        self.got = got
        self.hint = hint
        self.extra = extra


def internal_error() -> SessionError:
    """Return the error for a fault of ours."""
    return SessionError(
        ErrorCode.INTERNAL_ERROR,
        "the service made a mistake; what was converted before it has been sent",
        hint="the log of the service says more",
    )
