"""Whether a folder can be written to, and which errors say that it cannot."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROBE_BYTES = 1 << 16
"""An empty file is made even on a full disk."""

_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_SQLITE_CODES = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
    }
)


def is_disk_error(error: BaseException) -> bool:
    """Tell whether ``error`` is the disk's: full, read-only or broken; it may pass by itself."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in _SQLITE_CODES
    return isinstance(error, OSError) and error.errno in _ERRNOS


def check_writable(folder: Path) -> None:
    """Write a little into ``folder``, which is made if it is missing, and take it away again.

    Raises:
        OSError: That is not possible; the message says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder, prefix=".probe-") as file:
        file.write(bytes(_PROBE_BYTES))
        file.flush()


def why_unwritable(path: Path) -> OSError | None:
    """Return why ``path`` cannot be written, for a library that does not tell; None if it can."""
    try:
        check_writable(path.parent)
    except OSError as error:
        return OSError(error.errno, os.strerror(error.errno or errno.EIO), str(path))
    return None


@contextmanager
def telling_where(folder: Path) -> Iterator[None]:
    """Have errors say where they came about: neither an open file nor a database does.

    Raises:
        OSError, sqlite3.Error: What was raised, with the folder in it.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(folder)
        raise
    except sqlite3.Error as error:
        error.args = (f"{error}: {folder}", *error.args[1:])
        raise
