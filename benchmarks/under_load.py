"""Real-time sessions on servers, from client processes of their own, and what they cost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil

from benchmarks.results import ROOT
from benchmarks.service import Server

PERCENTILES = (50, 95, 99)
HARD_STOP_S = 60.0
"""Time beyond the load itself after which a client process is given up."""


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
    clients = [
        _start_client(urls, len(part), warm_up_s, seconds)
        for part, urls in _shares(servers, sessions, client_processes)
    ]
    pids = [server.pid for server in servers]
    try:
        begin_s = max(_started_s(client) for client in clients) + warm_up_s
        time.sleep(max(0.0, begin_s - time.monotonic()))
        before = _cpu_s(pids), _cpu_s([client.pid for client in clients])
        watched_s = -time.monotonic()
        time.sleep(max(0.0, begin_s + seconds - time.monotonic()))
        after = _cpu_s(pids), _cpu_s([client.pid for client in clients])
        watched_s += time.monotonic()
        memory_mb = sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 1e6
        results = [_result(client, HARD_STOP_S) for client in clients]
    finally:
        for client in clients:
            client.kill()
            client.wait()
    session_seconds = sessions * watched_s
    rtfs = [result["rtf_p95"] for result in results if result["rtf_p95"] is not None]
    return {
        "server_cpu_ms_per_session_second": 1e3 * (after[0] - before[0]) / session_seconds,
        "client_cpu_ms_per_session_second": 1e3 * (after[1] - before[1]) / session_seconds,
        "server_cores": (after[0] - before[0]) / watched_s,
        "client_cores": (after[1] - before[1]) / watched_s,
        "memory_pss_mb": memory_mb,
        "latency_ms": _percentiles([x for result in results for x in result["latencies_ms"]]),
        "send_late_ms": _percentiles([x for result in results for x in result["send_late_ms"]]),
        "rtf_p95": max(rtfs, default=None),
        "markers": sum(len(result["latencies_ms"]) for result in results),
        "silenced_ms": sum(result["silenced_ms"] for result in results),
    }


def _shares(
    servers: Sequence[Server], sessions: int, client_processes: int
) -> list[tuple[list[int], list[str]]]:
    """Who of the clients does which sessions, and on which servers, the first one first."""
    parts = [list(part) for part in np.array_split(range(sessions), client_processes) if len(part)]
    urls = [server.url for server in servers]
    return [
        (part, [urls[(part[0] + place) % len(urls)] for place in range(len(urls))])
        for part in parts
    ]


def _start_client(
    urls: Sequence[str], sessions: int, warm_up_s: float, seconds: float
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.talkers", "--sessions", str(sessions)]
    command += ["--warm-up", str(warm_up_s), "--seconds", str(seconds)]
    for url in urls:
        command += ["--url", url]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _started_s(client: subprocess.Popen[str]) -> float:
    assert client.stdout is not None
    word, _, when = client.stdout.readline().partition(" ")
    if word != "started":
        raise LoadError("expected the load to start, but its process ended; see its error above")
    return float(when)


def _result(client: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    # communicate() would lose what the first line's read has buffered.
    assert client.stdout is not None
    stop = threading.Timer(timeout_s, client.kill)
    stop.start()
    output = client.stdout.read()
    stop.cancel()
    if client.wait():
        raise LoadError(f"expected the load to finish, got exit status {client.returncode}")
    result: dict[str, Any] = json.loads(output)
    return result


def _cpu_s(pids: Sequence[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system for each in times)


def _percentiles(values: list[float]) -> dict[str, float]:
    found = np.percentile(values, PERCENTILES)
    return {f"p{rank}": float(value) for rank, value in zip(PERCENTILES, found, strict=True)}
