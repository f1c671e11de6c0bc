"""Real-time sessions on servers, from client processes of their own, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from benchmarks.raw_sessions import CHUNK_S, RawClients
from benchmarks.service import Server
from fast_vc_service.loadtest.client_report import ClientReport
from fast_vc_service.loadtest.processes import ClientProcesses
from fast_vc_service.loadtest.statistics import pooled_statistics

HARD_STOP_S = 60.0
"""Time beyond the load itself after which its reports are no longer waited for."""


class LoadError(RuntimeError):
    """The load did not come to its end: a server refused, fell silent or went away."""


def measure(
    servers: Sequence[Server],
    sessions: int,
    *,
    warm_up_s: float,
    seconds: float,
    client_processes: int,
) -> dict[str, Any]:
    """Put ``sessions`` real-time sessions on ``servers`` in turn; return the figures.

    Raises:
        LoadError: Some session did not get to its end.
    """
    clients = RawClients([server.url for server in servers], warm_up_s, seconds)
    pids = [server.pid for server in servers]
    # Evenly spread over a chunk's time: clients that send all at once are no load of real people.
    stagger_s = CHUNK_S / sessions
    with ClientProcesses(clients, sessions, client_processes, stagger_s=stagger_s) as running:
        begin_s = running.start().start_s + warm_up_s
        try:
            time.sleep(max(0.0, begin_s - time.monotonic()))
            before = _cpu_s(pids), _cpu_s(running.pids)
            watched_s = -time.monotonic()
            time.sleep(max(0.0, begin_s + seconds - time.monotonic()))
            after = _cpu_s(pids), _cpu_s(running.pids)
            watched_s += time.monotonic()
            memory_mb = sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 1e6
        except psutil.NoSuchProcess as error:
            _reports(running)  # says why, if it was a client
            raise LoadError(f"expected process {error.pid} to go on, but it has ended") from error
        reports = _reports(running)
    session_seconds = sessions * watched_s
    figures = pooled_statistics(reports)
    return {
        "server_cpu_ms_per_session_second": 1e3 * (after[0] - before[0]) / session_seconds,
        "client_cpu_ms_per_session_second": 1e3 * (after[1] - before[1]) / session_seconds,
        "server_cores": (after[0] - before[0]) / watched_s,
        "client_cores": (after[1] - before[1]) / watched_s,
        "memory_pss_mb": memory_mb,
        "latency_ms": _percentiles(figures["chunk_latency_stats"]),
        "send_late_ms": _percentiles(figures["send_delay_stats"]),
        "rtf_p95": figures["real_time_factor"]["worst_p95"],
        "markers": sum(len(report.chunks) for report in reports),
        "silenced_ms": figures["silenced_ms"],
    }


def _reports(running: ClientProcesses) -> list[ClientReport]:
    try:
        events = list(running.events(within_s=HARD_STOP_S))
    except TimeoutError as error:
        raise LoadError(str(error)) from error
    reports = [event for event in events if isinstance(event, ClientReport)]
    for report in reports:
        if not report.success:
            raise LoadError(f"client {report.number}: {report.reason}")
    return reports


def _cpu_s(pids: Sequence[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system for each in times)


def _percentiles(figures: Mapping[str, float]) -> dict[str, float]:
    return {
        name: figures[f"{figure}_ms"]
        for name, figure in (("p50", "median"), ("p95", "p95"), ("p99", "p99"))
    }
