"""How often sessions end: what a full service knows of when it has a free slot again."""

from __future__ import annotations

import math
from collections import deque

RETRY_S = 5
"""What a client is told to wait while nothing better is known."""

LONGEST_RETRY_S = 60
ENDS_REMEMBERED = 20


class SessionEnds:
    """Remembers when the latest sessions ended."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=ENDS_REMEMBERED)

    def ended(self, now: float) -> None:
        """Count a session that ends at ``now``, in monotonic seconds."""
        self._ends.append(now)

    def retry_after_s(self, now: float) -> int:
        """Whole seconds until a slot is likely to be free: the mean between the latest ends."""
        if not self._ends:
            return RETRY_S
        between_s = (now - self._ends[0]) / len(self._ends)
        return min(max(1, math.ceil(between_s)), LONGEST_RETRY_S)
