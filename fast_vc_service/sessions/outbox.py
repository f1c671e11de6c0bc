"""What a session has to send: in order, and past any queue while nothing waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fast_vc_service.protocol.messages import Notice
from fast_vc_service.protocol.voice_choice import VoiceChoice
from fast_vc_service.sessions.errors import SessionError
from fast_vc_service.sessions.observer import BlockTimes


@dataclass(slots=True)
class Block:
    """What is to be remembered of a block while it is under way.

    Attributes:
        received_at: Monotonic seconds of the receipt of its last byte.
        updates: Changes of voice and pitch that take effect with it.
        times: What it has spent so far.
        queued_at: Monotonic seconds when its output was ready to be sent.
        behind: Whether it is part of a backlog of the client.
    """

    received_at: float
    updates: Sequence[tuple[VoiceChoice, float]]
    times: BlockTimes = field(default_factory=dict)
    queued_at: float = 0.0
    behind: bool = False


@dataclass(slots=True)
class Output:
    """One thing to send, in order.

    Exactly one of ``payload``, ``notice`` and ``error`` is set. ``completes`` is the block whose
    last output ``payload`` is; ``duration_s`` is the length of its audio.
    """

    payload: bytes | None = None
    notice: Notice | None = None
    error: SessionError | None = None
    completes: Block | None = None
    duration_s: float = 0.0


class Outbox:
    """A queue that is written and read on one event loop.

    Args:
        send_now: Sends audio at once and tells whether it could; asked only while nothing waits.
        sent: Told of audio that was handed to the transport: the block that it completes.

    Attributes:
        queued_s: Seconds of audio that wait.
        finished: Whether nothing more is put in.
    """

    def __init__(
        self, send_now: Callable[[bytes], bool], sent: Callable[[Block | None], None]
    ) -> None:
        self._send_now = send_now
        self._sent = sent
        self._waiting: deque[Output] = deque()
        self._arrived = asyncio.Event()
        self.queued_s = 0.0
        self.finished = False

    def put_audio(self, payload: bytes, duration_s: float, completes: Block | None) -> None:
        """Send audio, or have it wait."""
        if not self._waiting and self._send_now(payload):
            self._sent(completes)
            return
        self.queued_s += duration_s
        self._put(Output(payload, completes=completes, duration_s=duration_s))

    def put_notice(self, notice: Notice) -> None:
        """Have a notice wait behind what does already."""
        self._put(Output(notice=notice))

    def put_error(self, error: SessionError) -> None:
        """Have the error that ends the session wait behind what does already."""
        self._put(Output(error=error))

    def finish(self) -> None:
        """Put nothing more in; what waits can still be taken."""
        self.finished = True
        self._arrived.set()

    async def next(self) -> Output | None:
        """Return the next thing to send; None when all was taken and nothing follows."""
        while not self._waiting:
            if self.finished:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()

    def handed_over(self, output: Output) -> None:
        """Count ``output`` as given to the transport."""
        if output.payload is not None:
            self.queued_s -= output.duration_s
            self._sent(output.completes)

    def _put(self, output: Output) -> None:
        self._waiting.append(output)
        self._arrived.set()
