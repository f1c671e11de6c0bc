"""One worker process, as its parent sees it."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fast_vc_service.process.worker.child import DONE, LOADED, OUT_OF_MEMORY
from fast_vc_service.process.worker.work import (
    Failure,
    Result,
    Work,
    WorkFailedError,
    WorkStoppedError,
)

LOAD_S = 600.0
"""How long our own code and weights may take to load, on a machine that does much else."""

CHECK_S = 0.1
"""How often it is asked whether the result is still wanted."""

END_S = 5.0
"""How long the system may take to end a process."""

_CHILD = "fast_vc_service.process.worker.child"


class _LateError(Exception):
    """Nothing has come in time."""


class Worker:
    """A process for one piece of work after the other.

    Raises:
        OSError: The system cannot start it.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _CHILD, str(theirs.fileno())],
                # What libraries say of a hostile file is no line of our log.
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # Ctrl-C is for the service alone. A session of its own would make its niceness
                # count for nothing where the system groups processes by session.
                process_group=0,
                env=_environment(),
            )
            self._connection = Connection(ours.detach())

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def do(self, work: Work[Result], stopped: Callable[[], bool]) -> Result:
        """Have a piece of work done.

        Args:
            work: What to do.
            stopped: Whether the result is not wanted any more.

        Returns:
            What it returned.

        Raises:
            WorkFailedError: It brought no result; the process is of no more use.
            WorkStoppedError: ``stopped`` said so; the process is of no more use.
            Exception: What it raised.
        """
        try:
            self._connection.send_bytes(pickle.dumps(work))
            kind, value = self._receive(LOAD_S, stopped)
        except (EOFError, OSError) as error:
            raise WorkFailedError(Failure.UNAVAILABLE, f"cannot begin: {self._end()[1]}") from error
        except _LateError as error:
            raise WorkFailedError(Failure.UNAVAILABLE, f"not loaded in {LOAD_S:g} s") from error
        if kind == LOADED:
            try:
                kind, value = self._receive(work.wall_s, stopped)
            except (EOFError, OSError) as error:
                raise WorkFailedError(*self._end()) from error
            except _LateError as error:
                raise WorkFailedError(Failure.TOO_LONG, f"not done in {work.wall_s:g} s") from error
        if kind == OUT_OF_MEMORY:
            mb = work.memory_bytes >> 20
            raise WorkFailedError(Failure.TOO_MUCH_MEMORY, f"more than {mb} MiB are needed")
        if kind == DONE:
            result: Result = value
            return result
        raise value

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._connection.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()

    def _receive(self, within_s: float, stopped: Callable[[], bool]) -> tuple[str, Any]:
        """Return the next message; raises EOFError, OSError, _LateError, WorkStoppedError."""
        deadline = time.monotonic() + within_s
        while not self._connection.poll(CHECK_S):
            if stopped():
                raise WorkStoppedError
            if time.monotonic() > deadline:
                raise _LateError
        kind, value = self._connection.recv()
        return kind, value

    def _end(self) -> tuple[Failure, str]:
        """Say how the process has ended."""
        try:
            status = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return Failure.CRASHED, "it has closed its connection"
        if status == -signal.SIGXCPU:
            return Failure.TOO_LONG, "more processor time is needed than it may take"
        if status == -signal.SIGKILL:
            return Failure.TOO_MUCH_MEMORY, "the system has ended the process (SIGKILL)"
        if status < 0:
            return Failure.CRASHED, f"the process has crashed ({signal.Signals(-status).name})"
        return Failure.CRASHED, f"the process has ended with status {status}"


def _environment() -> dict[str, str]:
    """The environment of a worker: no secrets of ours, no GPU, the same modules."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FAST_VC_")}
    return kept | {
        "CUDA_VISIBLE_DEVICES": "",
        # Each arena takes 64 MiB of address space, used or not.
        "MALLOC_ARENA_MAX": "2",
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
    }
