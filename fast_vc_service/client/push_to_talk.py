"""Talking that is switched on and off from the keyboard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable


class PushToTalk:
    """Talking is switched on and off by each line that comes: Enter on a terminal.

    Args:
        lines: Where they come from; read in a thread.
        on_change: Told whether somebody talks now, in that thread.

    Attributes:
        talking: Whether somebody talks; False at first, and again when no more lines come.
    """

    def __init__(self, lines: Iterable[str], on_change: Callable[[bool], None]) -> None:
        self.talking = False
        self._lines = lines
        self._on_change = on_change
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_closed(self, timeout_s: float | None = None) -> None:
        """Wait until no more lines come."""
        self._thread.join(timeout_s)

    def _read(self) -> None:
        for _line in self._lines:
            self.talking = not self.talking
            self._on_change(self.talking)
        self.talking = False
