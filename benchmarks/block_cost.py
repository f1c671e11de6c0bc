"""Where the CPU time of a block goes, stage by stage, without sockets and without threads.

    python -m benchmarks.block_cost

The engine ``passthrough`` (block 20 ms, 16 kHz PCM both ways), the service's own objects, one
thread. CPU time, so other programs disturb little. What is not in it: system calls, the event
loop's and the threads' wake-ups; ``benchmarks/overhead.py`` measures the whole.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import typer
from websockets.server import ServerProtocol

from benchmarks import tables
from benchmarks.raw_sessions import CHUNK_MS, SAMPLE_RATE, frame
from benchmarks.results import RESULTS, save
from fast_vc_service.audio.codecs import make_decoder, make_encoder
from fast_vc_service.contract import FloatArray, Voice
from fast_vc_service.engine.batching import Job, JobQueue, Result
from fast_vc_service.engine.learned_capacity import Answer
from fast_vc_service.engine.scheduler import Slot
from fast_vc_service.engine.stream import Stream
from fast_vc_service.models.passthrough.converter import PassthroughConverter
from fast_vc_service.protocol.opening import Start
from fast_vc_service.protocol.voice_choice import VoiceChoice
from fast_vc_service.server.measurements import Measurements
from fast_vc_service.server.metrics import Metrics
from fast_vc_service.sessions.pacing import SessionLimits
from fast_vc_service.sessions.report import PerformanceReport
from fast_vc_service.sessions.session import Session

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

BATCH = 50
"""Sessions a step: what 200 sessions come to when a batch gathers for 5 ms."""

_BINARY = 2
_UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Kept:
    """Stands for a slot: keeps what is submitted."""

    def __init__(self) -> None:
        self.jobs: list[tuple[FloatArray, Callable[[Result], None]]] = []

    def submit(self, block: FloatArray, done: Callable[[Result], None], **_more: object) -> None:
        """Keep a block and whom to tell."""
        self.jobs.append((block, done))

    def answered(self, answer: Answer) -> None:
        """Learn nothing from how a block was answered."""


async def _no_voice(name: str) -> Voice:
    raise LookupError(name)


def measure(blocks: int) -> dict[str, float]:
    """Return microseconds of CPU time a block of every stage, over so many blocks."""
    noise = np.random.default_rng(0).normal(0, 1000, SAMPLE_RATE * CHUNK_MS // 1000)
    payload = noise.astype("<i2").tobytes()
    converter = PassthroughConverter()
    voice = converter.make_voice("any", np.ones(1, np.float32), SAMPLE_RATE)
    kept = Kept()
    session = _session(converter, voice, kept)
    wire = _open_connection()
    sent = frame(_BINARY, payload)

    def receive() -> None:
        wire.receive_data(sent)
        wire.events_received()

    def send() -> None:
        wire.send_binary(payload)
        b"".join(wire.data_to_send())

    def feed() -> None:
        session.feed_now(payload, time.monotonic())

    costs = {"frame in": _cost(receive, blocks), "decode, cut, submit": _cost(feed, blocks)}
    queue = JobQueue(BATCH)
    for channel in range(BATCH):
        queue.open(channel)
    block = kept.jobs[0][0]
    jobs = [Job(row, block, 0.0, 1.0, 2.0, None, lambda _result: None) for row in range(BATCH)]

    def plan() -> None:
        for job in jobs:
            queue.leave_at()
            queue.push(job)
        queue.finish(queue.take(0.0))

    costs["plan the batch"] = _cost(plan, blocks // BATCH) / BATCH
    states = [converter.new_state(voice) for _ in range(BATCH)]

    def step() -> None:
        rows = np.concatenate([job.block for job in jobs]).reshape(BATCH, -1)
        np.isfinite(converter.step(rows, states)).all()

    costs["step"] = _cost(step, blocks // BATCH) / BATCH
    answers = iter(list(kept.jobs))

    def answer() -> None:
        block, done = next(answers)
        done(Result(block, 1e-3, 1e-3, None))

    costs["join, encode, count"] = _cost(answer, blocks)
    costs["frame out"] = _cost(send, blocks)
    return costs


def _session(converter: PassthroughConverter, voice: Voice, kept: Kept) -> Session:
    metrics = Metrics()
    return Session(
        start=Start(),
        voice=voice,
        slot=cast(Slot, kept),
        stream=Stream(converter, rate_in=SAMPLE_RATE, rate_out=SAMPLE_RATE),
        decoder=make_decoder("PCM", SAMPLE_RATE),
        encoder=make_encoder("PCM", SAMPLE_RATE),
        find_voice=cast(Callable[[VoiceChoice], Awaitable[Voice]], _no_voice),
        limits=SessionLimits(max_buffered_ms=1e12),
        observer=Measurements(metrics, PerformanceReport()),
        send_now=lambda _payload: True,
    )


def _open_connection() -> ServerProtocol:
    wire = ServerProtocol()
    wire.receive_data(_UPGRADE)
    (request,) = wire.events_received()
    wire.send_response(wire.accept(request))  # type: ignore[arg-type]
    wire.data_to_send()
    return wire


def _cost(act: Callable[[], None], times: int) -> float:
    """Microseconds of CPU time of ``act``."""
    started = time.thread_time()
    for _ in range(times):
        act()
    return 1e6 * (time.thread_time() - started) / times


@app.command()
def main(
    blocks: Annotated[int, typer.Option(help="Blocks a stage.")] = 20_000,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
) -> None:
    """Measure what a block costs the service, stage by stage."""
    measure(blocks // 10)
    path = save("block-cost", output, batch=BATCH, blocks=blocks, microseconds=measure(blocks))
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
