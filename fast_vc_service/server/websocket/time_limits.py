"""How long a connection may be silent, last, and leave its output unread."""

from __future__ import annotations

from collections.abc import Callable

from fast_vc_service.protocol.codes import ErrorCode
from fast_vc_service.server.service import EdgeLimits
from fast_vc_service.sessions.errors import SessionError


class Watch:
    """What is known of a connection in time; it has no clock of its own.

    Args:
        limits: What is allowed.
        unsent_bytes: How much of what was written the peer has not accepted yet.

    Attributes:
        heard_at: Monotonic seconds at which the last message came.
        written_bytes: Audio handed to the transport so far.
    """

    def __init__(self, limits: EdgeLimits, unsent_bytes: Callable[[], int]) -> None:
        self._limits = limits
        self._unsent_bytes = unsent_bytes
        self._opened_at = 0.0
        self._accepted_bytes = 0
        self._progress_at: float | None = None
        self.heard_at = 0.0
        self.written_bytes = 0

    def opened(self, now: float) -> None:
        """Begin to count: the session is open."""
        self._opened_at = self.heard_at = now

    def stood_still(self, seconds: float) -> None:
        """Count ``seconds`` for nothing: the process did not run."""
        self._opened_at += seconds
        self.heard_at += seconds
        if self._progress_at is not None:
            self._progress_at += seconds

    @property
    def sending(self) -> bool:
        """Whether a message is being sent."""
        return self._progress_at is not None

    def sends(self, now: float) -> None:
        """Take note that a message is being sent, until :meth:`sent`."""
        self._progress_at = now

    def sent(self) -> None:
        """Take note that nothing is being sent."""
        self._progress_at = None

    def peer_is_stuck(self, now: float) -> bool:
        """Tell whether the peer has accepted no byte of output for too long."""
        if self._progress_at is None:
            return False
        accepted = self.written_bytes - self._unsent_bytes()
        if accepted != self._accepted_bytes:
            self._accepted_bytes = accepted
            self._progress_at = now
        return now - self._progress_at > self._limits.slow_reader_s

    def overdue(self, now: float, *, paced: bool) -> SessionError | None:
        """Return the error that ends the session now, if any.

        Args:
            now: Monotonic seconds.
            paced: The session itself holds up the reading of input.
        """
        limits = self._limits
        if paced:
            self.heard_at = now
        if limits.idle_timeout_s and now - self.heard_at > limits.idle_timeout_s:
            return SessionError(
                ErrorCode.TIMEOUT,
                "no message came for too long",
                expected=f"audio or text at least every {limits.idle_timeout_s:g} s",
                got="nothing",
                hint="send silence while the microphone is muted, or end the session",
            )
        if limits.max_session_s and now - self._opened_at > limits.max_session_s:
            return SessionError(
                ErrorCode.SESSION_LIMIT,
                "the session has reached its longest duration",
                expected=f"at most {limits.max_session_s:g} s",
                hint="connect again to go on",
            )
        return None
