"""What the protocol refuses to read, and what the client is told of it."""

from __future__ import annotations

from dataclasses import dataclass

from fast_vc_service.protocol.codes import ErrorCode
from fast_vc_service.protocol.limits import BURST_FRAMES, FRAMES_A_SECOND
from fast_vc_service.sessions.errors import SessionError


@dataclass(frozen=True, slots=True)
class TooLong:
    """A message is longer than it may be.

    Attributes:
        declared_bytes: How long it is said to be.
        longest: How long it may be.
        first: It is the first one.
    """

    declared_bytes: int
    longest: int
    first: bool


@dataclass(frozen=True, slots=True)
class TooMany:
    """More frames without audio came than may."""


Refusable = TooLong | TooMany


def refusal_of(refused: Refusable) -> SessionError:
    """Return the error that ends the connection."""
    if isinstance(refused, TooMany):
        return SessionError(
            ErrorCode.RATE_LIMITED,
            "too many messages that carry no audio",
            expected=f"at most {FRAMES_A_SECOND:g} a second of texts, pings, pongs, empty messages "
            f"and small fragments together, and {BURST_FRAMES} at once",
            hint="send audio in whole messages, 20 ms each, and fewer markers and updates",
        )
    if refused.first:
        return SessionError(
            ErrorCode.INVALID_CONFIG,
            "the first message is too long",
            expected=f"at most {refused.longest} bytes",
            got=f"{refused.declared_bytes} bytes",
            hint="send audio as binary messages after the first one",
        )
    return too_large(refused.declared_bytes, refused.longest)


def too_large(got_bytes: int, most_bytes: int) -> SessionError:
    """Return the error for a message of a session that is too long."""
    return SessionError(
        ErrorCode.INVALID_AUDIO,
        "the message is too large",
        expected=f"at most {most_bytes} bytes",
        got=f"{got_bytes} bytes",
        hint="send smaller chunks, 20 ms each",
    )
