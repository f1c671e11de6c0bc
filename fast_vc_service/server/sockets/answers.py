"""How many requests are being answered at a time, so that their results do not come all at once.

What a route computes in a thread comes back to the event loop whenever it is ready. Were a hundred
under way, a hundred could be ready in one turn.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANSWERED_AT_A_TIME = 4
_READING = {"GET", "HEAD"}


class Grant:
    """The right of one request to be answered; requests with a body need none.

    Args:
        places: Shared by all requests.
        needed: Whether this one needs it.
    """

    def __init__(self, places: asyncio.Semaphore, *, needed: bool) -> None:
        self._places = places
        self._needed = needed
        self._held = False

    async def take(self) -> None:
        """Wait until it is this request's turn; once it is known who asks."""
        if self._needed and not self._held:
            await self._places.acquire()
            self._held = True

    def give_back(self) -> None:
        """Let the next one go; idempotent."""
        if self._held:
            self._held = False
            self._places.release()


def granted(app: ASGIApp, places: asyncio.Semaphore) -> ASGIApp:
    """Return ``app`` with a :class:`Grant` in ``extensions["grant"]``, held until it answers."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        grant = Grant(places, needed=scope["method"] in _READING)
        scope["extensions"]["grant"] = grant

        async def tell(message: Message) -> None:
            grant.give_back()
            await send(message)

        try:
            await app(scope, receive, tell)
        finally:
            grant.give_back()

    return serve
