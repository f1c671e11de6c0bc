"""What ends a session with an error that the client is told."""

from __future__ import annotations

from fast_vc_service.protocol.codes import ErrorCode


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


def model_stopped() -> SessionError:
    """Return the error for a model thread that died or hung with the session in its hands."""
    return SessionError(
        ErrorCode.INTERNAL_ERROR,
        "the model has stopped in the middle of a block; what was converted before it has been "
        "sent",
        hint="connect again; the log of the service says more",
    )
