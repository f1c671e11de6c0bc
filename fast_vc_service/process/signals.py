"""Which signals the process listens to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]


def allow_interrupt() -> None:
    """Undo the ignoring of SIGINT that a script's ``nohup ... &`` hands down.

    Without this ``fast-vc stop`` could not stop a service started so.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def end_at_next_interrupt() -> None:
    """Have the next SIGINT end this process at once, whatever its threads are doing."""
    if threading.current_thread() is threading.main_thread():
        # By the system itself: a handler of Python waits for the main thread, which may wait for
        # others, and the end of the interpreter would show where it was interrupted again.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


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
