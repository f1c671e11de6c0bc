"""What one client can cost another: a live session and a health watcher while others attack.

    python -m benchmarks.hostile --engine nano

Every kind of :mod:`benchmarks.attacks` at every stage, with 1, 10 and 100 connections from a
process at nice 19; kinds that need TLS against a service that speaks it. Lateness of an output
message is its arrival minus the time at which its audio was due on the sender's clock; what counts
is the largest in the row minus the largest in a control row just before, without attack. Memory is
the PSS of the server, at 10 Hz during the attack and for a while after.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import psutil
import typer
import uvloop

from benchmarks import tables
from benchmarks.attacks import KINDS, UPGRADE, Attack, Stage, anyones_certificate, frame, text
from benchmarks.raw_sessions import frames
from benchmarks.results import RESULTS, save
from benchmarks.service import running_service

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

KEY = "benchmark-key-0123456789"
RATE_HZ = 16_000
CHUNK_S = 0.02
CONNECTIONS = (1, 10, 100)
PATIENCE_S = 60.0
CHUNK = frame(2, bytes(640))
HEALTH_S = 0.1
MEMORY_S = 0.1
TOGETHER = ("pings", "empty fragments", "half a request", "/metrics", "wrong keys")
GOAL_MS, GOAL_MB = 50.0, 64.0

Attacks = Sequence[tuple[str, Stage]]
"""Kinds that attack at the same time, and how far each goes before."""


@dataclass
class Watched:
    """What a live session and a health watcher saw.

    Attributes:
        late_ms: Lateness of each output message.
        health_ms: How long each ``/health`` took; infinite when it failed.
        silenced_ms: Audio that the server replaced by silence.
        memory_mb: PSS of the server.
    """

    late_ms: list[float] = field(default_factory=list)
    health_ms: list[float] = field(default_factory=list)
    silenced_ms: float = 0.0
    memory_mb: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One attack against its control."""

    engine: str
    kind: str
    stage: str
    connections: int
    added_late_ms: float
    health_ms: float
    silenced_ms: float
    added_mb: float
    after_mb: float

    @property
    def good(self) -> bool:
        """Whether the goals are met."""
        return (
            self.added_late_ms <= GOAL_MS
            and self.added_mb <= GOAL_MB
            and self.silenced_ms == 0.0
            and self.health_ms != float("inf")
        )


async def live_session(
    port: int, tls: ssl.SSLContext | None, seconds: float, watched: Watched
) -> None:
    """Speak for ``seconds`` in real time and note when each output message comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(text(type="config", api_key=KEY))
    ready = asyncio.Event()
    began = 0.0

    async def hear() -> None:
        buffer, samples = bytearray(), 0
        while data := await reader.read(1 << 16):
            now = time.monotonic()
            buffer += data
            for opcode, payload in frames(buffer):
                if opcode == 2:
                    samples += len(payload) // 2
                    watched.late_ms.append(1e3 * (now - began - samples / RATE_HZ))
                elif opcode == 1:
                    ready.set()
                    stats = json.loads(payload).get("stats", {})
                    watched.silenced_ms = stats.get("silenced_ms", 0.0)
                elif opcode == 8:
                    return

    hearing = asyncio.create_task(hear())
    async with asyncio.timeout(PATIENCE_S):
        await ready.wait()
    began = time.monotonic()
    for chunk in range(round(seconds / CHUNK_S)):
        await asyncio.sleep(max(0.0, began + (chunk + 1) * CHUNK_S - time.monotonic()))
        writer.write(CHUNK)
    writer.write(text(type="end"))
    async with asyncio.timeout(PATIENCE_S):
        await hearing
    writer.close()


async def watch_health(
    port: int, tls: ssl.SSLContext | None, until_s: float, watched: Watched
) -> None:
    """Ask for ``/health`` on a new connection again and again."""
    while time.monotonic() < until_s:
        began = time.monotonic()
        took_ms = float("inf")
        with contextlib.suppress(OSError, TimeoutError, EOFError):
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
                writer.write(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
                if b" 200 " in await reader.readline():
                    took_ms = 1e3 * (time.monotonic() - began)
                writer.close()
        watched.health_ms.append(took_ms)
        await asyncio.sleep(HEALTH_S)


async def watch_memory(pid: int, until_s: float, watched: Watched) -> None:
    """Note the memory of the server until ``until_s``."""
    process = psutil.Process(pid)
    while time.monotonic() < until_s:
        watched.memory_mb.append(process.memory_full_info().pss / 2**20)
        await asyncio.sleep(MEMORY_S)


async def watch(port: int, tls: ssl.SSLContext | None, pid: int, seconds: float) -> Watched:
    """Look at the service for ``seconds``."""
    watched = Watched()
    until_s = time.monotonic() + seconds
    await asyncio.gather(
        live_session(port, tls, seconds, watched),
        watch_health(port, tls, until_s, watched),
        watch_memory(pid, until_s, watched),
    )
    return watched


@dataclass(frozen=True)
class Bench:
    """A server to attack, and for how long."""

    engine: str
    port: int
    pid: int
    seconds: float
    after_s: float
    tls: bool = False

    def row(self, attacks: Attacks, connections: int) -> Row:
        """Measure a control, then an attack, then the time after it."""
        tls = anyones_certificate() if self.tls else None
        control = uvloop.run(watch(self.port, tls, self.pid, self.seconds))
        spawn = multiprocessing.get_context("spawn")
        share = max(1, connections // len(attacks))
        attackers = [
            spawn.Process(target=Attack(self.port, kind, stage, share, KEY, self.seconds + 2).run)
            for kind, stage in attacks
        ]
        for attacker in attackers:
            attacker.start()
        attacked = uvloop.run(watch(self.port, tls, self.pid, self.seconds + 2))
        for attacker in attackers:
            attacker.join()
        after = Watched()
        if self.after_s:
            until_s = time.monotonic() + self.after_s
            uvloop.run(watch_memory(self.pid, until_s, after))
        before_mb = max(control.memory_mb)
        return Row(
            self.engine,
            " + ".join(kind for kind, _ in attacks),
            " + ".join(dict.fromkeys(stage for _, stage in attacks)),
            connections,
            added_late_ms=max(attacked.late_ms) - max(control.late_ms),
            health_ms=max(attacked.health_ms),
            silenced_ms=attacked.silenced_ms,
            added_mb=max(attacked.memory_mb) - before_mb,
            after_mb=(after.memory_mb or attacked.memory_mb)[-1] - before_mb,
        )


def rows(only: str, most: int, *, tls: bool) -> Iterator[tuple[Attacks, int]]:
    """Return attacks and connections of each row, of kinds with or without TLS."""
    counts = [count for count in CONNECTIONS if count <= most]
    for name, kind in KINDS.items():
        if only in name and kind.tls == tls:
            for stage in kind.stages:
                yield from (([(name, stage)], count) for count in counts)
    if not only and not tls:
        # Each as far as it has to go before it can attack.
        together = [(name, KINDS[name].stages[0]) for name in TOGETHER]
        yield from ((together, count) for count in counts if count >= len(together))


def measure(bench: Bench, only: str, most: int) -> Iterator[Row]:
    """Measure all rows, and say each as soon as it is known."""
    for attacks, count in rows(only, most, tls=bench.tls):
        row = bench.row(attacks, count)
        typer.echo(f"{'ok ' if row.good else 'BAD'} {tables.hostile_row(asdict(row))}")
        yield row


@app.command()
def main(
    *,
    engine: Annotated[list[str] | None, typer.Option(help="Engines; both by default.")] = None,
    only: Annotated[str, typer.Option(help="Kinds whose name has this in it.")] = "",
    most: Annotated[int, typer.Option(help="Most connections.")] = 100,
    seconds: Annotated[float, typer.Option(help="Seconds of an attack.", min=1)] = 10.0,
    after_s: Annotated[float, typer.Option(help="Seconds after it.", min=0)] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Write the figures to a file.")] = False,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
) -> None:
    """Attack a service and watch what others notice."""
    measured: list[Row] = []
    keys = json.dumps([{"name": "benchmark", "key": KEY}])
    for name in engine or ["passthrough", "nano"]:
        for tls in (False, True):
            if not any(rows(only, most, tls=tls)):
                continue
            own = {"tls_self_signed": "true"} if tls else {}
            with running_service(name, max_sessions=128, api_keys=keys, **own) as server:
                port = urlsplit(server.url).port or 0
                bench = Bench(name, port, server.pid, seconds, after_s, tls)
                measured += measure(bench, only, most)
    if as_json:
        path = save("hostile", output, rows=[asdict(row) for row in measured])
        typer.echo(tables.of_result(path))
        typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
