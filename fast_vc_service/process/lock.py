"""Locks on files: held by a process until it lets go of them or ends, whatever ends it.

Two kinds: those of a handle (flock), and those of a process (POSIX), which tell who holds them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "darwin":
    # struct flock: start, length, pid, type, whence.
    _FLOCK = "qqihh"

    def _as_flock(kind: int, pid: int) -> tuple[int, ...]:
        return 0, 0, pid, kind, os.SEEK_SET

    def _from_flock(answer: tuple[int, ...]) -> tuple[int, int]:
        return answer[3], answer[2]

else:
    # struct flock: type, whence, start, length, pid.
    _FLOCK = "hhqqi4x"

    def _as_flock(kind: int, pid: int) -> tuple[int, ...]:
        return kind, os.SEEK_SET, 0, 0, pid

    def _from_flock(answer: tuple[int, ...]) -> tuple[int, int]:
        return answer[0], answer[4]


_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


def take_lock(path: Path) -> int:
    """Take the lock on a file, which is made if it is missing; links are not followed.

    Returns:
        A handle; closing it gives the lock back.

    Raises:
        BlockingIOError: Another process has it, or another handle of this one.
        OSError: The file cannot be opened.
    """
    handle = os.open(path, _FLAGS | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(handle)
        raise
    return handle


def claim(handle: int) -> None:
    """Have this process hold an open file until it closes the file, by any handle, or ends.

    Raises:
        OSError: Another process holds it, or the file system knows no locks.
    """
    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder(handle: int) -> int | None:
    """Return the process that has claimed an open file; None for nobody, or this process itself.

    0 is a process that cannot be seen from here, such as one of another container.
    """
    asked = struct.pack(_FLOCK, *_as_flock(fcntl.F_RDLCK, 0))
    answer = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
    kind, pid = _from_flock(answer)
    return None if kind == fcntl.F_UNLCK else pid


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Hold the lock on a file, once whoever has it lets go; for moments only.

    Raises:
        OSError: The file cannot be opened.
    """
    handle = os.open(path, _FLAGS | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Tell whether somebody holds the lock on a file; False where there is no file.

    One that may not be looked at counts as held.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        return error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
    try:
        # Shared: several may ask at the same time without finding each other.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
