"""One process, told apart from a later one that got its number; by no clock that is ever set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

_STATE, _START_TICKS = 0, 19  # fields 3 and 22 of /proc/<pid>/stat, counted from the third


@dataclass(frozen=True)
class RunningProcess:
    """A process that was seen to run.

    Attributes:
        pid: Its number.
        start_ticks: When it began, in clock ticks since the machine did; None where that is not
            told.
    """

    pid: int
    start_ticks: int | None

    @classmethod
    def of(cls, pid: int) -> RunningProcess | None:
        """Return the process of that number; None when there is none, or it has ended."""
        process = cls(pid, _start_ticks(pid))
        return process if process.alive else None

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        stat = _stat(self.pid)
        if stat is not None:
            return stat[_STATE] not in {"Z", "X"} and int(stat[_START_TICKS]) == self.start_ticks
        if self.start_ticks is not None:
            return False
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended.

        Raises:
            PermissionError: It belongs to another user.
        """
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def with_children(self) -> list[RunningProcess]:
        """Return this process and all below it."""
        try:
            pids = [child.pid for child in psutil.Process(self.pid).children(recursive=True)]
        except psutil.Error:
            pids = []
        found = (RunningProcess.of(pid) for pid in pids)
        return [self, *(process for process in found if process is not None)]


def _start_ticks(pid: int) -> int | None:
    stat = _stat(pid)
    return None if stat is None else int(stat[_START_TICKS])


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name of the program stands in brackets and may hold anything.
    return text.rpartition(")")[2].split()
