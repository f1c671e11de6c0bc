"""What connections were turned away for, in the log: the first of each kind, then a sum a minute.

A flood of what is refused costs its sender nothing; it must not fill the disk.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from loguru import logger

SUMMED_S = 60.0
_MESSAGE_CHARS = 80


class RefusalLog:
    """Used on the event loop only.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._since = clock()

    def note(self, code: str, message: str = "") -> None:
        """Count a refusal; log it if it is the first of its kind since the last sum."""
        self.sum_up()
        self._counts[code] += 1
        if self._counts[code] == 1:
            logger.info("refused: {} {}", code, message[:_MESSAGE_CHARS])

    def sum_up(self) -> None:
        """Log what has come together, once a minute; called every second or so."""
        now = self._clock()
        if now - self._since < SUMMED_S:
            return
        more = {code: count for code, count in self._counts.items() if count > 1}
        if more:
            kinds = ", ".join(f"{count} {code}" for code, count in sorted(more.items()))
            logger.warning("refused in the last {:.0f} s: {}", now - self._since, kinds)
        self._counts.clear()
        self._since = now
