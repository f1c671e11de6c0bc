"""``fast-vc`` on a disk that fails: a folder is full or read-only while a file exists.

``DISK_FOLDER`` is the folder, ``DISK_ERROR`` the name of an errno, ``DISK_SWITCH`` the file, which
``DISK_TRIP`` makes at the first ``rename``, or after the first ``write`` of audio. What the system
would refuse is refused here, so that no mount is needed: opening to write, making and renaming by
an audit hook, writing to what is open already by the objects that do it.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import soundfile

from fast_vc_service import cli

FOLDER = os.path.realpath(os.environ["DISK_FOLDER"])
SWITCH = Path(os.environ["DISK_SWITCH"])
ERROR = getattr(errno, os.environ["DISK_ERROR"])
TRIPS = [os.environ.get("DISK_TRIP", "")]
READ_ONLY = ERROR == errno.EROFS

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
CHANGES = {"os.mkdir", "os.rename", "os.link", "os.symlink"}
if READ_ONLY:
    CHANGES |= {"os.remove", "os.rmdir"}


def fails(path: Any) -> bool:
    """Whether something under ``path`` cannot be written at present."""
    return is_there(path) and SWITCH.exists()


def is_there(path: Any) -> bool:
    """Whether ``path`` is on that disk."""
    if isinstance(path, int) or not isinstance(path, str | bytes | os.PathLike):
        return False
    return os.path.realpath(os.fsdecode(path)).startswith(FOLDER)


def refuse(path: Any) -> None:
    if fails(path):
        raise OSError(ERROR, os.strerror(ERROR), os.fsdecode(path))


def trip(doing: str, path: Any) -> None:
    """Have the disk fail from now on, once, at what ``DISK_TRIP`` names."""
    if doing in TRIPS and is_there(path):
        TRIPS.clear()
        SWITCH.touch()


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = arguments
        # A lock is one that was made before; taking it writes nothing.
        if flags & _WRITES and not (isinstance(path, str) and path.endswith(".lock")):
            refuse(path)
    elif event in CHANGES:
        trip(event.removeprefix("os."), arguments[0])
        refuse(arguments[0])


class Writer:
    """An open file that notices when the disk fails."""

    def __init__(self, file: Any, path: Any) -> None:
        self._file, self._path = file, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def write(self, data: Any) -> int:
        refuse(self._path)
        count: int = self._file.write(data)
        return count


_open = io.open


def opened(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
    found = _open(file, mode, *more, **named)
    return Writer(found, file) if is_there(file) and set(mode) & set("wax+") else found


class Connection(sqlite3.Connection):
    """A database on that disk."""

    place = ""

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        if fails(self.place) and not statement.lstrip().startswith(("SELECT", "PRAGMA")):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY if READ_ONLY else sqlite3.SQLITE_FULL
            raise error
        return super().execute(statement, *arguments)


_connect = sqlite3.connect


def connect(place: Any, *arguments: Any, **named: Any) -> sqlite3.Connection:
    found = _connect(place, *arguments, factory=Connection, **named)
    assert isinstance(found, Connection)
    found.place = os.fsdecode(place)
    return found


class SoundFile(soundfile.SoundFile):
    """libsndfile says no more than that it was the system."""

    def __init__(self, file: Any, mode: str = "r", *more: Any, **named: Any) -> None:
        if mode != "r" and fails(file):
            raise soundfile.LibsndfileError(2)
        super().__init__(file, mode, *more, **named)

    def write(self, data: Any) -> None:
        if fails(self.name):
            raise soundfile.LibsndfileError(2)
        super().write(data)
        trip("write", self.name)


if __name__ == "__main__":
    sys.addaudithook(audit)
    builtins.open = io.open = opened  # type: ignore[assignment]
    sqlite3.connect = connect  # type: ignore[assignment]
    soundfile.SoundFile = SoundFile
    cli.main()
