"""Folders for what lasts as long as a request, of which a killed process leaves nothing for long.

Each process has a folder of its own and holds the lock on a file in it. A folder whose lock is free
belongs to nobody any more.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fast_vc_service.process.lock import is_locked, take_lock, waiting_lock

UPLOADS = "uploads"
"""Name of the folder of all these in the folder of temporary files."""

LOCK = ".lock"


class ScratchFolder:
    """The folder of this process, made when first needed; safe to use from many threads.

    Args:
        root: Holds such folders of all processes.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._own: tuple[Path, int] | None = None

    @contextmanager
    def place(self) -> Iterator[Path]:
        """Give an empty folder, which is gone afterwards.

        Raises:
            OSError: None can be made.
        """
        with tempfile.TemporaryDirectory(dir=self._folder(), ignore_cleanup_errors=True) as made:
            yield Path(made)

    def close(self) -> None:
        """Remove the folder of this process."""
        with self._lock:
            own, self._own = self._own, None
        if own is not None:
            shutil.rmtree(own[0], ignore_errors=True)
            os.close(own[1])

    def sweep(self) -> int:
        """Remove the folders of processes that have ended; return how many.

        Raises:
            OSError: They cannot be looked at.
        """
        if not self._root.is_dir():
            return 0
        removed = 0
        with waiting_lock(self._root / LOCK):
            for folder in self._root.iterdir():
                if is_abandoned(folder):
                    shutil.rmtree(folder, ignore_errors=True)
                    removed += 1
        return removed

    def _folder(self) -> Path:
        with self._lock:
            if self._own is not None:
                folder, handle = self._own
                if folder.is_dir():
                    return folder
                os.close(handle)
                self._own = None
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Nobody sweeps between the making of the folder and that of its lock.
            with waiting_lock(self._root / LOCK):
                folder = Path(tempfile.mkdtemp(dir=self._root))
                try:
                    self._own = folder, take_lock(folder / LOCK)
                except OSError:
                    with contextlib.suppress(OSError):
                        folder.rmdir()
                    raise
            return folder


def is_abandoned(folder: Path) -> bool:
    """Tell whether ``folder`` is one of a process that has ended."""
    return folder.is_dir() and not folder.is_symlink() and not is_locked(folder / LOCK)
