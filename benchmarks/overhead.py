"""What the service itself costs: CPU and latency added to bare WebSocket echo.

    python -m benchmarks.overhead

Runs the engine ``passthrough`` (block 20 ms) in a real server process, and a bare echo endpoint on
the same kind of uvicorn in another, each in turn under the same load from client processes of
their own (``benchmarks/raw_sessions.py``). Reports, at each number of real-time sessions:

- CPU (user + system) a second of session, of the server and of the clients apart;
- marker latency of both, and their difference at each percentile: the latency the service adds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track

from benchmarks import tables
from benchmarks.raw_sessions import CHUNK_MS, MARKER_EVERY
from benchmarks.results import CORES, RESULTS, save
from benchmarks.service import Server, free_port, running, running_service
from benchmarks.under_load import LoadError, measure

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

LEVELS = [1, 16, 64, 200]


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
    from matplotlib.figure import Figure

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
            try:
                for name, server in servers.items():
                    level[name] = measure(
                        [server],
                        count,
                        warm_up_s=warm_up,
                        seconds=seconds,
                        client_processes=client_processes,
                    )
            except LoadError as error:
                typer.echo(f"{count} sessions are beyond this machine: {error}", err=True)
                break
            level["added"] = added(level["service"], level["echo"])
            levels.append(level)
    if not levels:
        raise typer.Exit(1)
    path = save(
        "overhead",
        output,
        seconds=seconds,
        client_processes=client_processes,
        chunk_ms=CHUNK_MS,
        marker_every_chunks=MARKER_EVERY,
        levels=levels,
    )
    plot(levels, path.with_suffix(".png"))
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
