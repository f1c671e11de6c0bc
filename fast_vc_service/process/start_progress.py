"""A line every few seconds while a service starts: nobody waits without knowing for what."""

from __future__ import annotations

import threading
import time
from typing import Self

from loguru import logger

INTERVAL_S = 2.5


class StartProgress:
    """Logs what is being done and for how long, from a thread of its own, until it is stopped.

    Args:
        doing: What is done first.
        interval_s: Between two lines.
    """

    def __init__(self, doing: str, interval_s: float = INTERVAL_S) -> None:
        self._doing, self._interval_s = doing, interval_s
        self._started = time.monotonic()
        self._done = threading.Event()
        threading.Thread(target=self._run, name="start-progress", daemon=True).start()

    def now(self, doing: str) -> None:
        """Say from the next line on that ``doing`` is being done."""
        self._doing = doing

    def stop(self) -> None:
        """Say nothing more."""
        self._done.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._done.wait(self._interval_s):
            logger.info("still {}, {:.0f} s so far", self._doing, time.monotonic() - self._started)
