"""One connection with nothing real around it: both sides and the model move when a test says so."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from fast_vc_service.contract import Voice
from fast_vc_service.engine.batching import Job, Result
from fast_vc_service.engine.learned_capacity import Answer
from fast_vc_service.engine.placement import CapacityError
from fast_vc_service.protocol.service_state import ServiceState
from fast_vc_service.server.auth import KeyRing
from fast_vc_service.server.live_connections import LiveConnection
from fast_vc_service.server.measurements import Measurements
from fast_vc_service.server.metrics import Metrics
from fast_vc_service.server.service import EdgeLimits, Recording, Service
from fast_vc_service.server.websocket.connection import Connection
from fast_vc_service.sessions.pacing import SessionLimits
from fast_vc_service.sessions.report import PerformanceReport
from fast_vc_service.voices.folder import UnknownVoiceError
from stub_converter import StubConverter, stub_voice
from waiting import spend_async


class Inline(ThreadPoolExecutor):
    """Runs at once what it is given, so that nothing waits for a thread."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*arguments, **named))
        except BaseException as error:
            done.set_exception(error)
        return done


@dataclass
class Slot:
    """A place whose blocks are converted when a test says so."""

    engine: Engine
    jobs: deque[Job] = field(default_factory=deque)
    closed: bool = False
    source_f0_hz: float | None = None

    def make_state(
        self, voice: Voice, pitch_shift: float, seed: int, source_f0_hz: float | None
    ) -> None:
        self.engine.new_state()

    def prepare(self, voice: Voice) -> Voice:
        return voice

    def submit(self, block: Any, done: Callable[[Result], None], **when: Any) -> None:
        if not self.closed:
            self.jobs.append(Job(1, block, 0.0, when["deadline"], when["late_at"], None, done))

    def answered(self, answer: Answer) -> None: ...

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.jobs.clear()
            self.engine.live -= 1


@dataclass
class Engine:
    converter: StubConverter = field(default_factory=lambda: StubConverter(noise=0.0))
    new_state: Callable[[], None] = lambda: None
    name: str = "stub"
    live: int = 0
    capacity: int = 2
    slots: list[Slot] = field(default_factory=list)

    def reserve(self, *, post: Any, log_id: str) -> Slot:
        if self.live >= self.capacity:
            raise CapacityError("all slots are taken", "2 live sessions fit on this machine")
        self.live += 1
        self.slots.append(Slot(self))
        return self.slots[-1]


class Voices:
    default = "stub"

    def get(self, name: str, owner: str | None = None) -> Voice:
        if name in {"stub", "loud"}:
            return stub_voice(name)
        raise UnknownVoiceError(name, ["loud", "stub"])

    def made(self, name: str, owner: str | None = None) -> Voice | None:
        # All are, so that no thread but that of the test is needed.
        return self.get(name, owner)

    def names(self, owner: str | None = None) -> list[str]:
        return ["loud", "stub"]


@dataclass
class LiveService:
    """What a connection needs of a service."""

    engine: Engine = field(default_factory=Engine)
    voices: Voices = field(default_factory=Voices)
    keys: KeyRing = field(default_factory=KeyRing)
    limits: EdgeLimits = field(default_factory=lambda: EdgeLimits(idle_timeout_s=120))
    session_limits: SessionLimits = field(
        default_factory=lambda: SessionLimits(max_buffered_ms=200, late_ms=60_000)
    )
    recording: Recording = field(default_factory=lambda: Recording(False, Path("nowhere")))
    observer: Measurements = field(
        default_factory=lambda: Measurements(Metrics(), PerformanceReport())
    )
    state: ServiceState = "ready"
    connections: set[LiveConnection] = field(default_factory=set)

    @property
    def live_sessions(self) -> int:
        return self.engine.live

    def retry_after_s(self) -> int:
        return 5

    def joined(self, connection: LiveConnection) -> None:
        self.connections.add(connection)

    def left(self, connection: LiveConnection) -> None:
        self.connections.discard(connection)


class Line:
    """The connection, its client, and what the client has heard."""

    def __init__(self, service: LiveService, loop: asyncio.AbstractEventLoop) -> None:
        loop.set_default_executor(Inline())
        self.loop = loop
        self.service = service
        self.heard: list[bytes | dict[str, Any]] = []
        self.close_code: int | None = None
        self.gone = False
        self.known = False
        self.fail_sending: type[Exception] | None = None
        self.take_now: Callable[[bytes], bool] | None = None
        self._unread = 0
        self._reads = asyncio.Event()
        self._reads.set()
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        scope = {"type": "websocket", "headers": [], "extensions": {"connection": self}}
        self.connection = Connection(cast(Service, service), scope, self._inbox.get, self._send)
        self.task = loop.create_task(self.connection.run())
        self.settle()

    # The wire, as the server sees it.

    def send_now(self, payload: bytes) -> bool:
        if self.gone or not self._reads.is_set():
            return False
        self.heard.append(payload)
        return True

    def know(self) -> None:
        self.known = True

    def arrived_at(self) -> float:
        return time.monotonic()

    def unsent_bytes(self) -> int:
        return self._unread

    def abort(self) -> None:
        self.hang_up()

    async def _send(self, message: Any) -> None:
        if self.fail_sending is not None:
            raise self.fail_sending
        await self._reads.wait()
        if self.gone:
            raise OSError("the client has gone")
        if message["type"] == "websocket.close":
            self.close_code = message["code"]
            self._inbox.put_nowait({"type": "websocket.disconnect", "code": message["code"]})
        elif message["type"] == "websocket.send":
            payload = message.get("bytes")
            self.heard.append(json.loads(message["text"]) if payload is None else payload)

    # The client.

    def say(self, **message: Any) -> None:
        self.write(json.dumps(message))

    def write(self, text: str) -> None:
        self._put({"type": "websocket.receive", "text": text})

    def send_audio(self, payload: bytes) -> None:
        """As the server's protocol does: past the queue when nothing waits in it."""
        at_once = self._inbox.empty() and self.take_now is not None and self.take_now(payload)
        if not at_once:
            self._put({"type": "websocket.receive", "bytes": payload})
        self.settle()

    def hang_up(self) -> None:
        if not self.gone:
            self.gone = True
            self._reads.set()
            self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
            self.settle()

    def read(self, *, on: bool) -> None:
        """Read what comes, or leave it unread."""
        if on or self.gone:
            self._reads.set()
        else:
            self._reads.clear()
        self.settle()

    def texts(self) -> list[dict[str, Any]]:
        return [message for message in self.heard if isinstance(message, dict)]

    def _put(self, message: dict[str, Any]) -> None:
        if self.close_code is None and not self.gone:
            self._inbox.put_nowait(message)
        self.settle()

    # What happens to both.

    def convert(self, *, silenced: str | None = None) -> bool:
        """Have the model answer the oldest block; False when none waits."""
        for slot in self.service.engine.slots:
            if slot.jobs:
                job = slot.jobs.popleft()
                samples = job.block if silenced is None else 0 * job.block
                job.done(Result(samples, 0.001, 0.0, silenced))
                self.settle()
                return True
        return False

    def pass_time(self, seconds: float) -> None:
        """Have the service look at the connection as if so much time had passed."""
        for connection in list(self.service.connections):
            connection.check(time.monotonic() + seconds)
        self.settle()

    def settle(self) -> None:
        """Run whatever can run."""
        if not self.loop.is_running():
            for _ in range(12):
                self.loop.run_until_complete(spend_async(0))

    def wind_up(self) -> None:
        """Drain as a service that stops does; the connection must come to its end."""
        self.service.state = "draining"
        for connection in list(self.service.connections):
            connection.finish()
        self.settle()
        while self.convert():
            pass
        self.read(on=True)
        while self.convert():
            pass
        if not self.task.done():
            self.hang_up()
        self.loop.run_until_complete(asyncio.wait_for(self.task, 10))
