"""The end of the process, whatever still runs in it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from loguru import logger


def end_process(seconds: float, status: Callable[[], int], clean_up: Callable[[], None]) -> None:
    """End this process after ``seconds``, unless it has ended by itself by then.

    Threads that hang cannot hold it up, and destructors of libraries are not run. Without
    ``seconds`` this does not return.

    Args:
        seconds: How long to wait.
        status: Returns the exit status.
        clean_up: Done before; what it raises is logged.
    """

    def end() -> None:
        time.sleep(seconds)
        others = [thread.name for thread in threading.enumerate() if thread is not _current()]
        logger.warning("the process ends while these threads run: {}", ", ".join(others))
        try:
            clean_up()
        except Exception:
            logger.exception("the process could not clean up")
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(status())

    if seconds > 0:
        threading.Thread(target=end, name="end", daemon=True).start()
    else:
        end()


def _current() -> threading.Thread:
    return threading.current_thread()
