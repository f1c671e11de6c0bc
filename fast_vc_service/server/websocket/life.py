"""The life of a WebSocket connection as a table: state and event give the next state.

Pure: no I/O, no clock. What a peer, a timer or the drain can cause has an entry in every state;
what only our own code can cause is illegal where that code must not be.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """Where a connection is.

    Attributes:
        CONNECTING: The upgrade is not accepted yet.
        GREETING: The first message is awaited.
        ADMITTING: The first message is judged, a place taken, ``ready`` said.
        LISTENING: The session is open and the reader waits: audio can be taken at once.
        TAKING: The session is open and the reader is busy with a message.
        FINISHING: No more input is taken; what is left of the output is sent.
        CLOSING: The last word is being said, then the close frame follows.
        STUCK: The peer does not read: its slot is free, it is told why for a second, then cut.
        CLOSED: The peer is gone, or all was said.
    """

    CONNECTING = "connecting"
    GREETING = "greeting"
    ADMITTING = "admitting"
    LISTENING = "listening"
    TAKING = "taking"
    FINISHING = "finishing"
    CLOSING = "closing"
    STUCK = "stuck"
    CLOSED = "closed"


class Event(StrEnum):
    """What happens to a connection.

    Attributes:
        MESSAGE: A message has come (peer).
        END: The client has said ``end`` (peer).
        GONE: The peer is gone.
        OVERDUE: A time limit of the input has passed (timer).
        UNREAD: The peer has accepted no output for too long (timer).
        DRAINED: The service has waited long enough for its end (drain).
        FAILED: An error ends the session: the client's, the model's or ours.
        ACCEPTED: The upgrade was accepted (ours).
        ADMITTED: The session is open (ours).
        REFUSED: The connection ends before a session (ours).
        TAKEN: The reader is done with its message (ours).
        LAST_WORD: The output is sent, the last word follows (ours).
        SAID: All was said (ours).
    """

    MESSAGE = "message"
    END = "end"
    GONE = "gone"
    OVERDUE = "overdue"
    UNREAD = "unread"
    DRAINED = "drained"
    FAILED = "failed"
    ACCEPTED = "accepted"
    ADMITTED = "admitted"
    REFUSED = "refused"
    TAKEN = "taken"
    LAST_WORD = "last_word"
    SAID = "said"


FROM_OUTSIDE = frozenset(
    {
        Event.MESSAGE,
        Event.END,
        Event.GONE,
        Event.OVERDUE,
        Event.UNREAD,
        Event.DRAINED,
        Event.FAILED,
    }
)
"""Events that can come at any time; they are legal in every state."""

OPEN = frozenset({State.LISTENING, State.TAKING})
"""States in which the session takes input."""

_STAYS = {event: {state: state for state in State} for event in FROM_OUTSIDE}
_NO_MORE_INPUT = dict.fromkeys(OPEN, State.FINISHING)

TABLE: Mapping[Event, Mapping[State, State]] = {
    Event.MESSAGE: _STAYS[Event.MESSAGE]
    | {State.GREETING: State.ADMITTING, State.LISTENING: State.TAKING},
    Event.END: _STAYS[Event.END] | _NO_MORE_INPUT,
    Event.GONE: dict.fromkeys(State, State.CLOSED),
    Event.OVERDUE: _STAYS[Event.OVERDUE] | _NO_MORE_INPUT,
    Event.UNREAD: _STAYS[Event.UNREAD]
    | dict.fromkeys({*OPEN, State.FINISHING, State.CLOSING}, State.STUCK),
    Event.DRAINED: _STAYS[Event.DRAINED] | _NO_MORE_INPUT,
    Event.FAILED: _STAYS[Event.FAILED] | _NO_MORE_INPUT,
    Event.ACCEPTED: {State.CONNECTING: State.GREETING},
    Event.ADMITTED: {State.ADMITTING: State.LISTENING},
    Event.REFUSED: dict.fromkeys(
        {State.CONNECTING, State.GREETING, State.ADMITTING}, State.CLOSING
    ),
    Event.TAKEN: {
        State.TAKING: State.LISTENING,
        State.FINISHING: State.FINISHING,
        State.CLOSING: State.CLOSING,
        State.STUCK: State.STUCK,
        State.CLOSED: State.CLOSED,
    },
    Event.LAST_WORD: dict.fromkeys({*OPEN, State.FINISHING, State.CLOSING}, State.CLOSING)
    | {State.STUCK: State.STUCK, State.CLOSED: State.CLOSED},
    Event.SAID: {
        State.CLOSING: State.CLOSED,
        State.STUCK: State.CLOSED,
        State.CLOSED: State.CLOSED,
    },
}
"""The next state by event and state; a pair without an entry is illegal."""


class IllegalEventError(RuntimeError):
    """Our own code has done what it must not do in this state."""


class Life:
    """The state of one connection.

    Attributes:
        state: Where it is.
    """

    def __init__(self) -> None:
        self.state = State.CONNECTING

    def on(self, event: Event) -> bool:
        """Take ``event``; return whether it has changed the state.

        Raises:
            IllegalEventError: The event is ours, and illegal in this state.
        """
        after = TABLE[event].get(self.state)
        if after is None:
            raise IllegalEventError(f"{event} is illegal while {self.state}")
        changed = after is not self.state
        self.state = after
        return changed
