"""What a worker process may use, and what it gives up; where the system has no such limit, none."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

NICENESS = 10
_OOM_SCORE = "500"


def give_way() -> None:
    """Let others go first, be the first to go when memory is short, and leave no core dump.

    Signals that end the service do not end its workers: it may still need them while it drains.
    """
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")


@contextlib.contextmanager
def limited(cpu_s: float, memory_bytes: int) -> Iterator[None]:
    """Limit what this process may use from now on until the end of the block.

    The system ends the process with ``SIGXCPU`` beyond ``cpu_s`` seconds of processor time. Beyond
    ``memory_bytes`` it gets no more address space, which most libraries tell as ``MemoryError``.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    with (
        _soft(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + cpu_s)),
        _soft(resource.RLIMIT_AS, _address_space() + memory_bytes)
        if sys.platform == "linux"
        else contextlib.nullcontext(),
    ):
        yield


@contextlib.contextmanager
def _soft(kind: int, value: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    most = [limit for limit in (value, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min(most), hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def _address_space() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()
