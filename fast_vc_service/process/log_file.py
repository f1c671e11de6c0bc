"""The service's log file: bounded, and on a disk that may fail."""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# The sink that loguru makes of a path.
from loguru._file_sink import FileSink

FILES = 5
"""Fewest files that the logs are spread over when they are as large as they may be."""

TELL_AGAIN_S = 60.0
"""How often it is said that the log file cannot be written."""


class LogFile:
    """A log file on a disk that may fail: said once in a while, and never a reason to stop.

    Loguru itself would print a traceback of its own for every line.
    """

    def __init__(self, path: Path, rotation_mb: int, retention_days: int, total_mb: int) -> None:
        """See :func:`logs.configure`."""
        total = total_mb * 1_000_000
        # A few files, so that not everything goes when the oldest does.
        rotation = min(rotation_mb * 1_000_000, total // FILES)
        self._path = path
        self._told_at = -math.inf
        self._file: Any = FileSink(  # type: ignore[no-untyped-call]
            path,
            rotation=rotation,
            retention=functools.partial(
                remove_old, days=retention_days, most_bytes=total - rotation
            ),
            encoding="utf-8",
        )

    def write(self, message: str) -> None:
        """Write a line."""
        try:
            self._file.write(message)
        except OSError as error:
            self._tell(error)

    def stop(self) -> None:
        """Close the file."""
        try:
            self._file.stop()
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._told_at < TELL_AGAIN_S or sys.stderr is None:
            return
        self._told_at = now
        sys.stderr.write(f"the log file {self._path} cannot be written: {error}\n")


def remove_old(files: Iterable[str | Path], *, days: int, most_bytes: int) -> None:
    """Delete log files that are older than ``days``, and the oldest beyond ``most_bytes``."""
    found = sorted(map(Path, files), key=lambda path: path.stat().st_mtime, reverse=True)
    oldest = time.time() - days * 86_400.0
    kept = 0
    for path in found:
        status = path.stat()
        kept += status.st_size
        if kept > most_bytes or status.st_mtime < oldest:
            path.unlink(missing_ok=True)
