"""A connection that is read all the time and given up when the server owes too long an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from fast_vc_service.client.connection import why_ended
from fast_vc_service.client.errors import CLIENT_TIMEOUT, CONNECTION_LOST, VoiceServiceError
from fast_vc_service.client.messages import Failed
from fast_vc_service.client.timeline import now


class LiveConnection:
    """Reads one connection in a task and watches over its silence in another.

    Args:
        connection: An open connection.
        take: Called with this and each message of the server; a :class:`VoiceServiceError` that
            it raises ends the connection.
        is_owed: Tells whether the server owes an answer, apart from reading what is being sent.
        on_end: Called once, when nothing more will be read.
        answer_timeout_s: How long the server may owe an answer without a sign of life.

    Attributes:
        complete: Set by the owner once the session is complete; ending is no failure then.
        refusal: Set by the owner when the server has refused.
        failure: Why the connection ended before the session was complete.
        heard_s: When the server last gave a sign of life, by the clock of ``timeline.now``.
    """

    def __init__(
        self,
        connection: ClientConnection,
        *,
        take: Callable[[LiveConnection, str | bytes], None],
        is_owed: Callable[[], bool],
        on_end: Callable[[], None],
        answer_timeout_s: float,
    ) -> None:
        self.complete = False
        self.refusal: Failed | None = None
        self.failure: VoiceServiceError | None = None
        self.heard_s = now()
        self._connection = connection
        self._take = take
        self._is_owed = is_owed
        self._on_end = on_end
        self._answer_timeout_s = answer_timeout_s
        self._sending = False
        self._reader = asyncio.create_task(self._read())
        self._watch = asyncio.create_task(self._watch_over())

    async def send(self, message: str | bytes) -> None:
        """Send a message; waits while the server reads slower than this.

        Raises:
            VoiceServiceError: The connection has ended.
        """
        if self.failure is not None:
            raise self.failure
        self._sending = True
        try:
            await self._connection.send(message)
        except ConnectionClosed:
            raise await self.why_over() from None
        finally:
            self._sending = False

    async def why_over(self) -> VoiceServiceError:
        """Return why the session is over, once all that the server said has been read."""
        await asyncio.wait({self._reader})
        return self.failure or VoiceServiceError(
            CONNECTION_LOST, "the server ended the session before the client did"
        )

    async def read_to_end(self) -> None:
        """Wait until nothing more will be read; what went wrong in reading is raised."""
        await self._reader

    async def close(self) -> None:
        """Close the connection and end both tasks."""
        # The reader goes on meanwhile: unread output would keep the close handshake waiting.
        await self._connection.close()
        for task in (self._watch, self._reader):
            task.cancel()
            await asyncio.wait({task})

    async def _read(self) -> None:
        try:
            while True:
                message = await self._connection.recv()
                self.heard_s = now()
                self._take(self, message)
        except ConnectionClosed as closed:
            if self.failure is None and not self.complete:
                self.failure = why_ended(closed, self.refusal)
        except VoiceServiceError as error:
            self.failure = error
            self._connection.transport.abort()
        finally:
            self._on_end()

    async def _watch_over(self) -> None:
        """Give up when the server owes an answer and shows no sign of life."""
        while True:
            await asyncio.sleep(min(1.0, self._answer_timeout_s / 4))
            if self.complete or not (self._sending or self.refusal is not None or self._is_owed()):
                self.heard_s = now()
            elif now() - self.heard_s > self._answer_timeout_s:
                break
        if self.refusal is None:
            self.failure = VoiceServiceError(
                CLIENT_TIMEOUT,
                f"the server said nothing for {self._answer_timeout_s:g} s",
                {"hint": "the service hangs or the network is gone; `fast-vc status` tells more"},
            )
        self._connection.transport.abort()
