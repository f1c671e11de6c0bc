"""The WebSocket parser with a bound on messages that holds before they are buffered."""

from __future__ import annotations

from collections.abc import Generator
from logging import Logger

from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

FIRST_MESSAGE_BYTES = 64 * 1024
"""Longest first message: nobody is known yet."""

_LONGEST_HEADER_PART = 8


class BoundedReader(StreamReader):
    """Skips payloads of messages that are too long.

    Attributes:
        longest: Bytes a message may have.
        so_far: Bytes that the message has already, in earlier fragments.
        declared_bytes: How long the first message that was too long is said to be; None: none was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.longest = FIRST_MESSAGE_BYTES
        self.so_far = 0
        self.declared_bytes: int | None = None

    def read_exact(self, n: int) -> Generator[None, None, bytearray]:
        """Return the next ``n`` bytes, or none of a payload that is too long."""
        if n <= max(self.longest - self.so_far, _LONGEST_HEADER_PART):
            return (yield from super().read_exact(n))
        if self.declared_bytes is None:
            self.declared_bytes = self.so_far + n
        while n:
            skipped = min(n, len(self.buffer))
            del self.buffer[:skipped]
            n -= skipped
            if n:
                yield
        return bytearray()


class BoundedParser(ServerProtocol):
    """Parses an upgrade and then frames; of a message that is too long only the heads.

    Attributes:
        bounded: What it reads from.
    """

    def __init__(self, logger: Logger) -> None:
        super().__init__(max_size=None, logger=logger)
        self.bounded = BoundedReader()
        self.reader = self.bounded
        self.parser = self.parse()
        next(self.parser)

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame."""
        if frame.opcode is Opcode.CLOSE:
            # It may come between two fragments (RFC 6455, 5.4); the base class calls it an error.
            self.current_size = None
        super().recv_frame(frame)
        self.bounded.so_far = self.current_size or 0

    def held_bytes(self) -> int:
        """Bytes that are kept of what came."""
        return len(self.bounded.buffer) + self.bounded.so_far
