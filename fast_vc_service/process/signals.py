"""Which signals the process listens to."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

INTERRUPTED = 130
"""Exit status of who was interrupted, as shells know it."""

Handler = Callable[[int, FrameType | None], Any]


def allow_interrupt() -> None:
    """Undo the ignoring of SIGINT that a script's ``nohup ... &`` hands down.

    Without this ``fast-vc stop`` could not stop a service started so.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def end_at_next_interrupt() -> None:
    """Have the next SIGINT end this process at once, whatever its threads are doing."""
    # The end of the interpreter would wait for them, and show where it was interrupted again.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(INTERRUPTED))


def on_end(handler: Handler) -> None:
    """Have ``handler`` called at each signal that asks for the end of a service.

    SIGHUP (the terminal is gone) is one, unless it was ignored when the process began (``nohup``).
    """
    for number in ending_signals():
        signal.signal(number, handler)


def ending_signals() -> list[signal.Signals]:
    """Return the signals that ask this process to end."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]
