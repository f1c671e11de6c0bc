"""A service to whom everything happens at once: what becomes of its sessions and of itself.

People talk in real time, each for a few seconds, while at random files are uploaded, clients
vanish and flood, the disk fills, the clock is set and the process is stopped for seconds. Every
session has to end with exactly as much audio as it has said, or with an error that says why.
Memory, descriptors and threads have to end where they began.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.attacks import KINDS, Attack
from benchmarks.results import ROOT
from benchmarks.service import Server, running_service
from fast_vc_service.client import ServiceClient, VoiceServiceError
from fast_vc_service.process.address import page_url

TALKERS = 4
CHUNK = bytes(640)
CHUNK_S = 0.02
SETTLE_S = 15.0
AGAIN_S = 0.5
"""How long somebody waits who was refused, or cut off."""

PROGRAM = ("-m", "benchmarks.unsteady")
SOURCE = ROOT / "wavs" / "sources" / "low-pitched-male-24k.wav"

MOST_GROWTH = {"memory_mb": 64.0, "descriptors": 8, "threads": 24}
"""How much more there may be at the end than after a first round of everything."""


@dataclass(frozen=True)
class Sample:
    """What the service has at one moment."""

    at_s: float
    memory_mb: float
    descriptors: int
    threads: int


@dataclass
class Told:
    """What was seen.

    Attributes:
        sessions: How sessions have ended, counted.
        events: What was done to the service, counted.
        uploads: How uploads were answered, counted.
        faults: What must not be.
        samples: Of the service, every few seconds.
    """

    sessions: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Return all of it, for a file."""
        # A Counter does not survive asdict before Python 3.12.
        counted = {name: dict(getattr(self, name)) for name in ("sessions", "events", "uploads")}
        return {**counted, "faults": self.faults, "samples": [asdict(one) for one in self.samples]}

    def growth(self) -> dict[str, float]:
        """Return how much more there is at the end than at the first moment of rest."""
        first, last = self.samples[0], self.samples[-1]
        return {name: getattr(last, name) - getattr(first, name) for name in MOST_GROWTH}


class Chaos:
    """What happens to one service.

    Args:
        server: The service.
        folder: Where its switches are.
        seed: Of what happens when.
    """

    def __init__(self, server: Server, folder: Path, seed: int) -> None:
        self._server = server
        self._process = psutil.Process(server.pid)
        self._port = urlsplit(server.url).port or 0
        self._folder = folder
        self._disk, self._clock = folder / "fails", folder / "clock"
        self._random = random.Random(seed)
        self._began = time.monotonic()
        self.told = Told()

    async def run(self, seconds: float) -> Told:
        """Let everything happen for ``seconds``, after and before a time of rest."""
        for event in self._events():
            await event()
        await self._rest()
        self.told.samples.clear()
        self._sample()
        ends = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for _ in range(TALKERS):
                tasks.create_task(self._talk_until(ends))
            tasks.create_task(self._sample_until(ends))
            while time.monotonic() < ends:
                await self._random.choice(self._events())()
                await asyncio.sleep(self._random.uniform(0.0, 2.0))
        await self._rest()
        self._sample()
        for name, more in self.told.growth().items():
            if more > MOST_GROWTH[name]:
                self.told.faults.append(f"{name} has grown by {more:g}")
        for path in (self._folder / "home" / "logs").glob("*.log"):
            if "Traceback" in (log := path.read_text(encoding="utf-8", errors="replace")):
                at = log.index("Traceback")
                self.told.faults.append(f"the log has a traceback: {log[at - 200 : at + 2000]}")
        return self.told

    # ------------------------------------------------------------------ people

    async def _talk_until(self, ends: float) -> None:
        while time.monotonic() < ends:
            length_s = self._random.uniform(1.0, 12.0)
            ending = await self._talk(length_s)
            self.told.sessions[ending] += 1
            if ending.startswith("fault"):
                self.told.faults.append(ending)
            if ending != "complete":
                await asyncio.sleep(AGAIN_S)

    async def _talk(self, seconds: float) -> str:
        """Talk in real time; return how it ended."""
        try:
            async with connect(self._server.url, compression=None, ping_interval=None) as line:
                return await self._conversation(line, round(seconds / CHUNK_S))
        except (OSError, TimeoutError) as error:
            return f"fault: no connection: {error!r}"

    async def _conversation(self, line: ClientConnection, chunks: int) -> str:
        await line.send(json.dumps({"type": "config"}))
        speaking = asyncio.create_task(_speak(line, chunks))
        heard, last = 0, {}
        try:
            async with asyncio.timeout(chunks * CHUNK_S + 60.0):
                async for message in line:
                    if isinstance(message, bytes):
                        heard += len(message)
                    else:
                        last = json.loads(message)
        except TimeoutError:
            return "fault: it never ended"
        except ConnectionClosed:
            pass
        finally:
            speaking.cancel()
        if last.get("type") == "error":
            return f"error {last['error_code']}"
        if last.get("type") != "complete":
            return f"fault: the last word was {last.get('type')}, close code {line.close_code}"
        if heard != chunks * len(CHUNK):
            return f"fault: said {chunks * len(CHUNK)} bytes, heard {heard}"
        return "complete"

    # ------------------------------------------------------------------ events

    def _events(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return (self._upload, self._flood, self._vanish, self._fill, self._set_clock, self._stop)

    async def _upload(self) -> None:
        self.told.events["upload"] += 1
        address = page_url(self._server.url)
        try:
            async with ServiceClient(address) as service:
                await service.convert_file(SOURCE, self._folder / "converted.wav")
            self.told.uploads["converted"] += 1
        except VoiceServiceError as error:
            self.told.uploads[str(error.code)] += 1

    async def _flood(self) -> None:
        kinds = [name for name, kind in KINDS.items() if not kind.tls]
        name = self._random.choice(kinds)
        self.told.events["flood"] += 1
        stage = self._random.choice(KINDS[name].stages)
        # In an event loop of its own: it takes all the time of one.
        await asyncio.to_thread(asyncio.run, Attack(self._port, name, stage, 10, "", 2.0).attack())

    async def _vanish(self) -> None:
        self.told.events["client vanishes"] += 1
        with contextlib.suppress(OSError, ConnectionClosed, TimeoutError):
            line = await connect(self._server.url, compression=None, ping_interval=None)
            await line.send(json.dumps({"type": "config"}))
            await line.send(CHUNK * 20)
            line.transport.abort()

    async def _fill(self) -> None:
        self.told.events["disk full"] += 1
        self._disk.touch()
        try:
            await self._upload()
            await asyncio.sleep(self._random.uniform(0.5, 3.0))
        finally:
            self._disk.unlink()

    async def _set_clock(self) -> None:
        self.told.events["clock set"] += 1
        self._clock.write_text(str(self._random.uniform(-7200.0, 7200.0)), encoding="ascii")

    async def _stop(self) -> None:
        self.told.events["process stopped"] += 1
        os.kill(self._server.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(self._random.uniform(1.5, 4.0))
        finally:
            os.kill(self._server.pid, signal.SIGCONT)

    # ----------------------------------------------------------------- figures

    async def _rest(self) -> None:
        await asyncio.sleep(SETTLE_S)

    async def _sample_until(self, ends: float) -> None:
        while time.monotonic() < ends:
            self._sample()
            await asyncio.sleep(5.0)

    def _sample(self) -> None:
        self.told.samples.append(
            Sample(
                round(time.monotonic() - self._began, 1),
                round(self._process.memory_info().rss / 2**20, 1),
                self._process.num_fds(),
                self._process.num_threads(),
            )
        )


def measure(engine: str, minutes: float, seed: int = 0) -> Told:
    """Start a service, let everything happen to it and return what was seen."""

    async def body() -> Told:
        async with _unsteady(engine) as (server, folder):
            return await Chaos(server, folder, seed).run(60.0 * minutes)

    return asyncio.run(body())


@asynccontextmanager
async def _unsteady(engine: str) -> AsyncIterator[tuple[Server, Path]]:
    with tempfile.TemporaryDirectory(prefix="fast-vc-chaos-") as named:
        folder = Path(named)
        os.environ |= {
            "CLOCK_FILE": str(folder / "clock"),
            "DISK_FOLDER": str(folder / "home"),
            "DISK_ERROR": "ENOSPC",
            "DISK_SWITCH": str(folder / "fails"),
        }
        places = {f"{name}_dir": folder / "home" / name for name in ("temp", "data", "logs")}
        with running_service(
            engine, program=PROGRAM, late_ms=20_000, max_sessions=32, **places
        ) as server:
            yield server, folder


async def _speak(line: ClientConnection, chunks: int) -> None:
    began = time.monotonic()
    with contextlib.suppress(ConnectionClosed):
        for chunk in range(chunks):
            await asyncio.sleep(max(0.0, began + chunk * CHUNK_S - time.monotonic()))
            await line.send(CHUNK)
        await line.send(json.dumps({"type": "end"}))
