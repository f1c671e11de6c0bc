"""What the service itself costs: CPU and latency added to bare WebSocket echo.

    python -m benchmarks.overhead

Runs the engine ``passthrough`` (block 20 ms) in a real server process, and a bare echo endpoint on
the same kind of uvicorn in another, each in turn under the same load (``benchmarks/load.py``) from
client processes of their own. Reports, at each number of real-time sessions:

- CPU (user + system) a second of session, of the server and of the clients apart;
- marker latency of both, and their difference at each percentile: the latency the service adds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from matplotlib.figure import Figure
from rich.progress import track

from benchmarks import load, tables
from benchmarks.results import CORES, RESULTS, ROOT, save
from benchmarks.service import Server, free_port, running, running_service

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

LEVELS = [1, 16, 64, 200]
PERCENTILES = (50, 95, 99)
HARD_STOP_S = 60.0
"""Time beyond the load itself after which a client process is given up."""


def measure(
    server: Server, sessions: int, *, warm_up_s: float, seconds: float, client_processes: int
) -> dict[str, Any]:
    """Put ``sessions`` real-time sessions on ``server``; return its figures."""
    shares = [len(part) for part in np.array_split(range(sessions), client_processes) if len(part)]
    clients = [_start_client(server.url, share, warm_up_s, seconds) for share in shares]
    try:
        begin_s = max(_started_s(client) for client in clients) + warm_up_s
        time.sleep(max(0.0, begin_s - time.monotonic()))
        before = _cpu_s(server.pid), sum(_cpu_s(client.pid) for client in clients)
        watched_s = -time.monotonic()
        time.sleep(max(0.0, begin_s + seconds - time.monotonic()))
        after = _cpu_s(server.pid), sum(_cpu_s(client.pid) for client in clients)
        watched_s += time.monotonic()
        results = [_result(client, HARD_STOP_S) for client in clients]
    finally:
        for client in clients:
            client.kill()
            client.wait()
    session_seconds = sessions * watched_s
    return {
        "server_cpu_ms_per_session_second": 1e3 * (after[0] - before[0]) / session_seconds,
        "client_cpu_ms_per_session_second": 1e3 * (after[1] - before[1]) / session_seconds,
        "server_cores": (after[0] - before[0]) / watched_s,
        "latency_ms": _percentiles([x for result in results for x in result["latencies_ms"]]),
        "send_late_ms": _percentiles([x for result in results for x in result["send_late_ms"]]),
        "markers": sum(len(result["latencies_ms"]) for result in results),
        "silenced_ms": sum(result["silenced_ms"] for result in results),
    }


def added(service: dict[str, Any], echo: dict[str, Any]) -> dict[str, Any]:
    """Return what ``service`` costs beyond ``echo``; latencies differ percentile by percentile."""
    cpu = "server_cpu_ms_per_session_second"
    return {
        cpu: service[cpu] - echo[cpu],
        "latency_ms": {
            name: service["latency_ms"][name] - echo["latency_ms"][name]
            for name in service["latency_ms"]
        },
    }


def plot(levels: list[dict[str, Any]], path: Path) -> None:
    """Draw CPU and latency over the number of sessions."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    cpu, latency = figure.subplots(1, 2)
    sessions = [level["sessions"] for level in levels]
    for which, colour in (("service", "tab:blue"), ("echo", "tab:gray")):
        costs = [level[which]["server_cpu_ms_per_session_second"] for level in levels]
        cpu.plot(sessions, costs, "o-", color=colour, label=which)
        for name, line in (("p50", "-"), ("p95", "--"), ("p99", ":")):
            values = [level[which]["latency_ms"][name] for level in levels]
            latency.plot(sessions, values, line, marker=".", color=colour, label=f"{which} {name}")
    cpu.set(xlabel="real-time sessions", ylabel="server CPU, ms a session-second", ylim=(0, None))
    latency.set(xlabel="real-time sessions", ylabel="marker latency, ms", yscale="log")
    for axes in (cpu, latency):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sessions, [str(count) for count in sessions])
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def _start_client(
    url: str, sessions: int, warm_up_s: float, seconds: float
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.load", "--url", url, "--sessions", str(sessions)]
    command += ["--warm-up", str(warm_up_s), "--seconds", str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _started_s(client: subprocess.Popen[str]) -> float:
    assert client.stdout is not None
    word, _, when = client.stdout.readline().partition(" ")
    if word != "started":
        raise RuntimeError("expected the load to start, but its process ended; see its error above")
    return float(when)


def _result(client: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    # communicate() would lose what the first line's read has buffered.
    assert client.stdout is not None
    stop = threading.Timer(timeout_s, client.kill)
    stop.start()
    output = client.stdout.read()
    stop.cancel()
    if client.wait():
        raise RuntimeError(f"expected the load to finish, got exit status {client.returncode}")
    result: dict[str, Any] = json.loads(output)
    return result


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _percentiles(values: list[float]) -> dict[str, float]:
    found = np.percentile(values, PERCENTILES)
    return {f"p{rank}": float(value) for rank, value in zip(PERCENTILES, found, strict=True)}


@app.command()
def main(
    sessions: Annotated[
        list[int], typer.Option(help="Sessions at a time; may be repeated.")
    ] = LEVELS,
    seconds: Annotated[float, typer.Option(help="Seconds that count at each level.")] = 20.0,
    warm_up: Annotated[float, typer.Option(help="Seconds before them.")] = 3.0,
    client_processes: Annotated[int, typer.Option(help="Processes that share the sessions.")] = max(
        1, len(CORES) - 1
    ),
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
) -> None:
    """Measure the CPU and the latency that the service adds to a bare echo."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.echo", "--port", str(port)]
    levels = []
    with (
        running(command, {}, port, "/") as echo_pid,
        running_service("passthrough", max_sessions=2 * max(sessions)) as service,
    ):
        servers = {"echo": Server(f"ws://127.0.0.1:{port}/ws", echo_pid), "service": service}
        for count in track(sessions, "measuring"):
            level: dict[str, Any] = {"sessions": count}
            for name, server in servers.items():
                level[name] = measure(
                    server,
                    count,
                    warm_up_s=warm_up,
                    seconds=seconds,
                    client_processes=client_processes,
                )
            level["added"] = added(level["service"], level["echo"])
            levels.append(level)
    path = save(
        "overhead",
        output,
        seconds=seconds,
        client_processes=client_processes,
        chunk_ms=load.CHUNK_MS,
        marker_every_chunks=load.MARKER_EVERY,
        levels=levels,
    )
    plot(levels, path.with_suffix(".png"))
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
