"""What live sessions notice of all else that a service does: uploads, jobs, files, new voices.

    python -m benchmarks.beside

Eight live sessions alone for a minute, then for a minute beside others, five times each in turn.
The others, without a pause: four clients upload files to ``/convert``, two jobs run, four sessions
with ``realtime: false`` send as fast as they may, and voices are added and removed. The figure that
counts is the median p99 beside others over the median p99 alone: at most 1.2, and nothing silenced.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from queue import Empty
from statistics import median
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
import typer

from benchmarks import tables
from benchmarks.results import CORES, RESULTS, ROOT, save
from benchmarks.service import Server, running_service
from benchmarks.under_load import measure
from fast_vc_service.client import SyncServiceClient, SyncVoiceClient, VoiceServiceError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SPEECH = ROOT / "wavs" / "sources" / "low-pitched-male-24k.wav"
CLIP = ROOT / "wavs" / "references" / "alto.wav"
KINDS = {"upload": 4, "job": 2, "file": 4, "voice": 1}
"""How many others there are of each kind."""

GOAL = 1.2
_SECONDS, _RATE = 10, 16_000


@dataclass(frozen=True)
class Others:
    """All that goes on beside live sessions, from a process at nice 19.

    Attributes:
        url: WebSocket address of the service.
    """

    url: str

    def run(self, stop: Event, done: Queue[str]) -> None:
        """Keep everything going until ``stop``; tell ``done`` the kind of whatever is done."""
        os.nice(19)
        works: dict[str, Callable[[SyncServiceClient], None]] = {
            "upload": self._upload,
            "job": self._job,
            "file": self._file,
            "voice": self._voice,
        }

        def repeat(kind: str) -> None:
            with SyncServiceClient(f"http://{urlsplit(self.url).netloc}") as http:
                while not stop.is_set():
                    # Whoever is told that there is no room comes again.
                    with contextlib.suppress(VoiceServiceError):
                        works[kind](http)
                        done.put(kind)

        kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
        threads = [threading.Thread(target=repeat, args=(kind,)) for kind in kinds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _upload(self, http: SyncServiceClient) -> None:
        with tempfile.TemporaryDirectory() as folder:
            http.convert_file(SPEECH, Path(folder) / "converted.wav")

    def _job(self, http: SyncServiceClient) -> None:
        http.wait_for_job(http.submit_job(SPEECH).id)

    def _file(self, _http: SyncServiceClient) -> None:
        noise = np.random.default_rng(1).normal(0, 0.1, _SECONDS * _RATE).astype(np.float32)
        with SyncVoiceClient(self.url, sample_rate=_RATE, realtime=False) as session:
            session.send(noise)
            session.end()
            for _ in session:
                pass

    def _voice(self, http: SyncServiceClient) -> None:
        name = f"beside {threading.get_ident()}"
        http.add_voice(name, CLIP, consent=True)
        http.remove_voice(name)


@contextlib.contextmanager
def others(url: str) -> Iterator[Counter[str]]:
    """Keep the others going until the block ends; yields what then says how much they did.

    Raises:
        RuntimeError: One kind of them did nothing.
    """
    spawn = multiprocessing.get_context("spawn")
    stop, done = spawn.Event(), spawn.Queue()
    process = spawn.Process(target=Others(url).run, args=(stop, done))
    process.start()
    counts: Counter[str] = Counter()
    try:
        yield counts
    finally:
        stop.set()
        while process.is_alive() or not done.empty():
            with contextlib.suppress(Empty):
                counts[done.get(timeout=0.1)] += 1
        process.join()
    if idle := KINDS.keys() - counts.keys():
        raise RuntimeError(f"expected all kinds at work, but nothing came of: {', '.join(idle)}")


def compared(alone: list[dict[str, Any]], beside: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians of both, their ratio, and what was silenced in all."""
    p99 = {
        name: median(level["latency_ms"]["p99"] for level in levels)
        for name, levels in (("alone", alone), ("beside", beside))
    }
    silenced_ms = sum(level["silenced_ms"] for level in (*alone, *beside))
    ratio = p99["beside"] / p99["alone"]
    return {
        "p99_ms": p99,
        "ratio": ratio,
        "silenced_ms": silenced_ms,
        "good": ratio <= GOAL and silenced_ms == 0,
    }


@app.command()
def main(
    *,
    engine: Annotated[str, typer.Option(help="Engine to measure.")] = "nano",
    sessions: Annotated[int, typer.Option(help="Live sessions.", min=1)] = 8,
    rounds: Annotated[int, typer.Option(help="How often each is measured.", min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="Seconds that count each time.")] = 60.0,
    warm_up: Annotated[float, typer.Option(help="Seconds before them.")] = 5.0,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
) -> None:
    """Measure what live sessions notice of everything else."""
    levels: dict[str, list[dict[str, Any]]] = {"alone": [], "beside": []}

    def measured(server: Server) -> dict[str, Any]:
        return measure(
            [server],
            sessions,
            warm_up_s=warm_up,
            seconds=seconds,
            client_processes=max(1, len(CORES) - 1),
        )

    with running_service(engine, max_sessions=2 * (sessions + KINDS["file"])) as server:
        for number in range(rounds):
            levels["alone"].append(measured(server))
            with others(server.url) as done:
                time.sleep(warm_up)  # until the others are at work
                level = measured(server)
            levels["beside"].append({**level, "others": dict(done)})
            typer.echo(f"{number + 1} of {rounds} measured")
    path = save(
        f"beside-{engine}",
        output,
        engine=engine,
        sessions=sessions,
        seconds=seconds,
        levels=levels,
        **compared(levels["alone"], levels["beside"]),
    )
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
