"""What a dialect is: text to events and events to text, without any I/O.

Source: the WebSocket protocol page, ``docs/api_docs/websocket-api-doc.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fast_vc_service.protocol.codes import WarningCode
from fast_vc_service.protocol.json_text import JsonObject
from fast_vc_service.protocol.messages import End, Marker, Notice, Update
from fast_vc_service.protocol.opening import Ready, Start
from fast_vc_service.protocol.wire import Message
from fast_vc_service.sessions.errors import SessionError


@dataclass(frozen=True, slots=True)
class Refused:
    """A text message that changes nothing but must be answered with a warning."""

    code: WarningCode
    message: str


ControlEvent = Marker | Update | End | Refused


class Dialect(Protocol):
    """One of the languages clients speak; stateless, shared by all connections.

    Attributes:
        name: Its name, for logs.
        opening: Its first message.
    """

    name: str
    opening: Message

    def start(self, message: JsonObject) -> Start:
        """Read the first message.

        Raises:
            MessageError: It is wrong.
        """
        ...

    def parse(self, text: str) -> ControlEvent:
        """Read a later text message; one that is wrong becomes ``Refused``, never an exception."""
        ...

    def ready(self, ready: Ready) -> str | None:
        """Return the hello; None when this dialect has none."""
        ...

    def notice(self, notice: Notice) -> str | None:
        """Return the message for ``notice``; None when this dialect does not tell it."""
        ...

    def error(self, error: SessionError, session_id: str | None) -> str:
        """Return the message that ends the session, before the close."""
        ...
