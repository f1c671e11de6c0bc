"""What a dialect is: text to events and events to text, without any I/O.

Source: the WebSocket protocol page, ``docs/api_docs/websocket-api-doc.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from fast_vc_service.server.protocols.fields import JsonObject
from fast_vc_service.sessions.errors import SessionError
from fast_vc_service.sessions.events import ControlEvent, Notice, Ready, Start


class Dialect(Protocol):
    """One of the languages clients speak; stateless, shared by all connections.

    Attributes:
        name: Its name, for logs.
        session_id_field: The field of the first message that names the session.
    """

    name: str
    session_id_field: str

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


def dump(message: Mapping[str, Any]) -> str:
    """Return ``message`` as JSON, ASCII only, so that no text whatever can break the frame."""
    return json.dumps(message, allow_nan=False)
