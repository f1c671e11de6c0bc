"""One budget for all bytes that are kept for sockets of whom nothing is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from fast_vc_service.server.sockets.places import Place

MOST_HELD_BYTES = 16 << 20
SMALL_BYTES = 4 * 1024
"""What anybody may have kept, however full the budget is: a request or a first message of usual
size always gets through."""

_SHARE_OF_LARGE = 0.5


class HeldBytes:
    """Counts the bytes that are kept; belongs to the event loop.

    Args:
        most: Bytes of all unknown sockets together.
    """

    def __init__(self, most: int = MOST_HELD_BYTES) -> None:
        # The rest is for what everybody may have kept.
        self._most = int(_SHARE_OF_LARGE * most)
        self._waiting: deque[Callable[[], None]] = deque()
        self.total = 0

    def hold(self, place: Place, count: int) -> None:
        """Take note that ``count`` bytes are kept for ``place``; none count once it is known."""
        kept = 0 if place.known else count
        freed = place.held_bytes - kept
        self.total -= freed
        place.held_bytes = kept
        if freed > 0:
            self._look_again()

    def has_room(self, place: Place) -> bool:
        """Tell whether more may be read of ``place``."""
        return place.known or place.held_bytes < SMALL_BYTES or self.total < self._most

    def wait(self, look_again: Callable[[], None]) -> None:
        """Have ``look_again`` called once when there is room."""
        self._waiting.append(look_again)

    def _look_again(self) -> None:
        # Whoever finds no room waits again, behind the others.
        for _ in range(len(self._waiting)):
            if self.total >= self._most:
                return
            self._waiting.popleft()()
