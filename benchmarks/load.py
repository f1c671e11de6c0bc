"""How many live sessions a machine carries, and what they meet; the service against its peer.

    python -m benchmarks.load --engine nano

Real-time sessions, 1, 2, 4, ... of them, on a real server process, from client processes of their
own, until the latency of a chunk (p99) exceeds the block or audio is silenced; then the last step
is halved. In the same run, under the same load, the design of the service's peer
(``benchmarks/peer.py``): a model in each of W processes, run on the event loop.

Latency: from the *scheduled* time of the chunk that completes a block to the arrival of a marker
that follows the block's output; neither a stalling client nor the declared delay is in it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import tables
from benchmarks.raw_sessions import CHUNK_MS
from benchmarks.results import CORES, RESULTS, save
from benchmarks.service import Server, free_port, running, running_service
from benchmarks.under_load import LoadError, measure
from fast_vc_service.contract import SAMPLE_RATE_IN
from fast_vc_service.engine.families import build_converter

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

WORKERS = [1, 2, 4, 8]
MEMORY_SESSIONS = 8
"""Sessions at which memory is compared, whatever the latency then."""

SILENCED_SHARE = 1e-3
"""Part of the audio whose silencing is still no overload: a block at a hiccup of the machine."""

Measure = Callable[[int], dict[str, Any]]


def climb(measure_level: Measure, most: int) -> list[dict[str, Any]]:
    """Measure 1, 2, 4, ... sessions until they no longer fit, then halve the last step.

    Args:
        measure_level: Returns a level; ``"fits"`` in it says whether to go on.
        most: Sessions beyond which nobody looks.

    Returns:
        The levels by number of sessions, the last of those that fit within an eighth of what does
        not; :data:`MEMORY_SESSIONS` is always among them.
    """
    levels: dict[int, dict[str, Any]] = {}

    def fits(sessions: int) -> bool:
        if sessions not in levels:
            levels[sessions] = {"sessions": sessions, **measure_level(sessions)}
        return bool(levels[sessions]["fits"])

    good, bad = 0, 1
    while bad <= most and fits(bad):
        good, bad = bad, 2 * bad
    if bad <= most:
        while bad - good > max(1, good // 8):
            middle = (good + bad) // 2
            good, bad = (middle, bad) if fits(middle) else (good, middle)
    fits(min(MEMORY_SESSIONS, most))
    return [levels[sessions] for sessions in sorted(levels)]


def carried(levels: Sequence[dict[str, Any]]) -> int:
    """Return the most sessions that fit; 0 when not even one did."""
    return max((level["sessions"] for level in levels if level["fits"]), default=0)


def measure_system(
    servers: Sequence[Server], block_ms: float, *, warm_up_s: float, seconds: float, most: int
) -> list[dict[str, Any]]:
    """Climb on ``servers``, over which the sessions are spread evenly."""

    def level(sessions: int) -> dict[str, Any]:
        try:
            figures = measure(
                servers,
                sessions,
                warm_up_s=warm_up_s,
                seconds=seconds,
                client_processes=max(1, len(CORES) - 1),
            )
        except LoadError as error:
            return {"fits": False, "failed": str(error)}
        silenced = figures["silenced_ms"] / (1e3 * sessions * (warm_up_s + seconds))
        in_time = figures["latency_ms"]["p99"] <= block_ms
        return {"fits": in_time and silenced <= SILENCED_SHARE, **figures}

    return climb(level, most)


@contextlib.contextmanager
def peer(engine: str, workers: int) -> Iterator[list[Server]]:
    """Run the peer's design with so many workers, each on a port of its own."""
    with contextlib.ExitStack() as stack:
        servers = []
        for _ in range(workers):
            port = free_port()
            command = [sys.executable, "-m", "benchmarks.peer", "--engine", engine]
            command += ["--port", str(port), "--workers", str(workers)]
            pid = stack.enter_context(running(command, {}, port, "/"))
            servers.append(Server(f"ws://127.0.0.1:{port}/ws", pid))
        yield servers


@contextlib.contextmanager
def service(engine: str, most: int) -> Iterator[list[Server]]:
    """Run the service; its own admission would end the climb before the machine does."""
    with running_service(engine, max_sessions=2 * most) as server:
        yield [server]


def plot(block_ms: float, systems: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw latency and memory over the number of sessions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    latency, memory = figure.subplots(1, 2)
    for system in systems:
        measured = [level for level in system["levels"] if "failed" not in level]
        sessions = [level["sessions"] for level in measured]
        p99 = [level["latency_ms"]["p99"] for level in measured]
        latency.plot(sessions, p99, "o-", label=system["system"])
        memory.plot(sessions, [level["memory_pss_mb"] for level in measured], "o-")
    latency.axhline(block_ms, color="black", linestyle=":", label="one block")
    latency.set(ylabel="chunk latency p99, ms", yscale="log")
    memory.set(ylabel="memory (PSS), MB", ylim=(0, None))
    for axes in (latency, memory):
        axes.set(xlabel="real-time sessions", xscale="log")
        axes.grid(alpha=0.3)
    latency.legend()
    figure.savefig(path, dpi=120)


@app.command()
def main(
    *,
    engine: Annotated[str, typer.Option(help="Engine to measure.")] = "nano",
    workers: Annotated[
        list[int], typer.Option(help="Worker processes of the peer's design; may be repeated.")
    ] = WORKERS,
    only_service: Annotated[bool, typer.Option(help="Leave the peer's design out.")] = False,
    seconds: Annotated[float, typer.Option(help="Seconds that count at each level.")] = 10.0,
    warm_up: Annotated[float, typer.Option(help="Seconds before them.")] = 2.0,
    most: Annotated[int, typer.Option(help="Sessions beyond which nobody looks.")] = 512,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
) -> None:
    """Measure how many live sessions fit, with the service's design and with its peer's."""
    block_ms = 1e3 * build_converter(engine).block / SAMPLE_RATE_IN
    candidates = [("service", service(engine, most))]
    if not only_service:
        candidates += [(f"peer, W = {count}", peer(engine, count)) for count in workers]
    systems = []
    for name, started in candidates:
        typer.echo(f"{engine}: {name} ...")
        with started as servers:
            levels = measure_system(
                servers, block_ms, warm_up_s=warm_up, seconds=seconds, most=most
            )
        systems.append({"system": name, "carried": carried(levels), "levels": levels})
    path = save(
        f"load-{engine}",
        output,
        engine=engine,
        block_ms=block_ms,
        seconds=seconds,
        chunk_ms=CHUNK_MS,
        memory_sessions=MEMORY_SESSIONS,
        systems=systems,
    )
    plot(block_ms, systems, path.with_suffix(".png"))
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
