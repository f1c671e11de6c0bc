"""Ending a running service, from outside it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from fast_vc_service.errors import ServiceError
from fast_vc_service.process.running import RunningProcess
from fast_vc_service.process.service_info import ServiceInfo

STOP_MARGIN_S = 5.0
KILL_AFTER_S = 5.0


def stop_service(
    info: ServiceInfo,
    *,
    force: bool = False,
    waiting: Callable[[float], None] = lambda _seconds: None,
) -> list[int]:
    """Stop a service whose process has been verified, and wait for its end.

    Without ``force``: SIGINT, then ``drain_s`` + 5 s of patience. With it: SIGTERM twice (drain,
    then at once), SIGKILL after 5 s.

    Args:
        info: The service.
        force: Do not wait for sessions.
        waiting: Called about five times a second with the seconds waited.

    Returns:
        The pids that are still alive; empty when it has stopped.

    Raises:
        ServiceError: The process may not be signalled.
    """
    master = RunningProcess.of(info.master_pid)
    if master is None:
        return []
    processes = master.with_children()
    try:
        if not force:
            master.signal(signal.SIGINT)
            return _wait(processes, info.drain_s + STOP_MARGIN_S, waiting)
        for _ in range(2):
            master.signal(signal.SIGTERM)
            if not _wait([master], 0.2, waiting):
                break
        if _wait(processes, KILL_AFTER_S, waiting):
            for process in processes:
                process.signal(signal.SIGKILL)
            return _wait(processes, KILL_AFTER_S, waiting)
    except PermissionError as error:
        raise ServiceError(
            f"process {info.master_pid} belongs to another user; stop it as that user"
        ) from error
    return []


def _wait(
    processes: list[RunningProcess], seconds: float, waiting: Callable[[float], None]
) -> list[int]:
    started = time.monotonic()
    while True:
        alive = [process.pid for process in processes if process.alive]
        waited = time.monotonic() - started
        if not alive or waited > seconds:
            return alive
        waiting(waited)
        time.sleep(min(0.2, seconds))
