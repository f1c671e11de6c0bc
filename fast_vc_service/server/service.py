"""The running service as the network edge sees it: state, admission, drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger

from fast_vc_service.engine.build import Engine
from fast_vc_service.engine.capacity import Capacity
from fast_vc_service.process.scratch import ScratchFolder
from fast_vc_service.protocol.service_state import ServiceState
from fast_vc_service.server.auth import KeyRing
from fast_vc_service.server.http.jobs.decoding import FileDecoder
from fast_vc_service.server.http.jobs.keeping import FileJobs
from fast_vc_service.server.http.jobs.models import FileLimits
from fast_vc_service.server.http.jobs.store import JobStore
from fast_vc_service.server.http.jobs.work import FileWork
from fast_vc_service.server.http.voice_models import ClipLimits
from fast_vc_service.server.live_connections import LiveConnection, LiveConnections
from fast_vc_service.server.measurements import Measurements
from fast_vc_service.server.retry_after import RETRY_S
from fast_vc_service.server.standstill import MachineSleep, Standstill
from fast_vc_service.server.threads import voice_thread
from fast_vc_service.sessions.errors import model_stopped
from fast_vc_service.sessions.pacing import SessionLimits
from fast_vc_service.voices.catalogue import VoiceCatalogue

FINISH_S = 3.0
"""Time the last audio of sessions has that were still live at the drain deadline; together with
uvicorn's own shutdown it stays within the 5 s that ``fast-vc stop`` waits beyond ``drain_s``."""


CHECK_INTERVAL_S = 0.5
"""How often connections and model threads are looked at."""

IDLE_S = 15.0
"""How long nobody must have been live before it is looked whether the machine carries more now."""


@dataclass(frozen=True)
class EdgeLimits:
    """What the network edge grants a connection.

    Attributes:
        max_message_bytes: Largest message; more is INVALID_AUDIO.
        handshake_timeout_s: Time for the first message.
        idle_timeout_s: Time without any message; 0 means no limit.
        max_session_s: Longest session; 0 means no limit.
        slow_reader_s: Time without a byte of output accepted by the peer.
        drain_s: Time sessions have to end when the service stops.
    """

    max_message_bytes: int = 1 << 20
    handshake_timeout_s: float = 10.0
    idle_timeout_s: float = 120.0
    max_session_s: float = 0.0
    slow_reader_s: float = 10.0
    drain_s: float = 30.0


@dataclass(frozen=True)
class Recording:
    """Whether and where sessions are recorded unless they refuse."""

    enabled: bool
    folder: Path


@dataclass
class Service:
    """Everything the routes and the WebSocket endpoint share."""

    engine: Engine
    voices: VoiceCatalogue
    keys: KeyRing
    limits: EdgeLimits
    session_limits: SessionLimits
    recording: Recording
    observer: Measurements
    files: FileJobs
    clip_limits: ClipLimits = field(default_factory=ClipLimits)
    on_state: Callable[[ServiceState], None] = lambda _state: None
    on_failure: Callable[[], None] = lambda: None
    started_at: float = field(default_factory=time.time)
    _state: ServiceState = "starting"
    _started: asyncio.Event = field(default_factory=asyncio.Event)
    _connections: LiveConnections = field(default_factory=LiveConnections)

    @property
    def state(self) -> ServiceState:
        """``starting`` until warm, ``ready``, ``draining`` once stopping.

        ``failed`` when the engine cannot convert any more; only a new process helps.
        """
        return self._state

    @property
    def engine_name(self) -> str:
        """Name of the engine."""
        return self.engine.name

    @property
    def can_blend(self) -> bool:
        """Whether blends of voices can be chosen."""
        return self.engine.blends

    @property
    def work(self) -> FileWork:
        """Who converts files."""
        return self.files.work

    @property
    def file_limits(self) -> FileLimits:
        """What a file may be."""
        return self.files.limits

    @property
    def decoder(self) -> FileDecoder:
        """Who reads uploaded files."""
        return self.files.decoder

    @property
    def scratch(self) -> ScratchFolder:
        """Where uploads lie as long as they are needed."""
        return self.files.scratch

    @property
    def job_retention_s(self) -> float:
        """How long a finished job is kept."""
        return self.files.retention_s

    @property
    def jobs(self) -> JobStore | None:
        """Where jobs are kept; None while they cannot be."""
        return self.files.store

    @property
    def live_sessions(self) -> int:
        """Sessions that hold a slot."""
        return self.engine.live

    @property
    def capacity(self) -> int:
        """Sessions that fit; 0 before the warm-up."""
        return self.engine.capacity

    @property
    def warnings(self) -> list[str]:
        """What whoever operates it should know of how much it carries."""
        return self.engine.warnings if self._state == "ready" else []

    def device_memory(self) -> Mapping[str, tuple[int, int, int]]:
        """By CUDA device: bytes in use, bytes there are, bytes a session takes."""
        return self.engine.placement.device_memory()

    def enter(self, state: ServiceState) -> None:
        """Change state and tell whoever wants to know; it decides nothing."""
        self._state = state
        self._started.set()
        try:
            self.on_state(state)
        except Exception:
            logger.exception("that the service is {} could not be told", state)

    async def warm_up(self) -> None:
        """Make the engine ready, then admit sessions."""
        started = time.monotonic()
        measured = await asyncio.to_thread(self._warm_engine)
        for lane, capacity in zip(self.engine.placement.lanes, measured, strict=True):
            logger.info(
                "{} on {}: step p95 {:.1f} ms over {} sessions, a block is {:.0f} ms, {}",
                self.engine.name,
                lane.device,
                capacity.step_s * 1e3,
                capacity.batch,
                capacity.block_s * 1e3,
                f"{capacity.sessions} fit" if capacity.carries_one else "too slow for one session",
            )
        fit = f"up to {self.capacity} sessions are admitted"
        logger.info("warm after {:.1f} s, {}", time.monotonic() - started, fit)
        if self._state == "starting":
            self.enter("ready")
        for warning in self.warnings:
            logger.warning("{}", warning)

    async def follow_capacity(self) -> None:
        """Measure again while nobody is live, remember the most that ever fitted, and warn.

        Goes on for ever.
        """
        await self._started.wait()
        engine, said = self.engine, self.warnings
        while True:
            reserved = engine.placement.reserved
            await asyncio.sleep(IDLE_S)
            idle = engine.live == 0 and engine.placement.reserved == reserved
            if idle and self._state == "ready" and await asyncio.to_thread(engine.measure_again):
                logger.info("measured again while idle: {} sessions fit", engine.placement.limit)
            await asyncio.to_thread(engine.note_best)
            warnings = self.warnings
            for warning in warnings:
                if warning not in said:
                    logger.warning("{}", warning)
            said = warnings

    def _warm_engine(self) -> list[Capacity]:
        return self.engine.warm_up(self.voices.get(self.voices.default, here=True))

    async def make_voices(self) -> None:
        """Make the voices that are not made yet, once the service is ready.

        Raises:
            Exception: What went wrong with the last voice that could not be made but, for all that
                is known, might be at another attempt.
        """
        await self._started.wait()
        await asyncio.to_thread(self.voices.sweep)
        failure: Exception | None = None
        for name in await asyncio.to_thread(self.voices.names):
            if self._state != "ready":
                return
            try:
                await voice_thread(self.voices.get, name)
            except (LookupError, ValueError) as error:
                logger.warning("voice {} cannot be made: {}", name, error)
            except Exception as error:
                logger.warning("voice {} cannot be made now: {}", name, error)
                failure = error
        if failure is not None:
            raise failure

    def retry_after_s(self) -> int:
        """In how many seconds a client that was refused should come again."""
        if self._state == "ready":
            return self._connections.ends.retry_after_s(time.monotonic())
        # How long a warm-up still takes is not known, nor whether who stops will be back.
        return RETRY_S

    def joined(self, connection: LiveConnection) -> None:
        """Count a connection that took a slot."""
        self._connections.joined(connection)

    def left(self, connection: LiveConnection) -> None:
        """Forget a connection that gave its slot back."""
        self._connections.left(connection)

    async def watch(self) -> None:
        """Check every connection's time limits and the model threads twice a second, for ever."""
        before = time.monotonic()
        standstill, sleep = Standstill(CHECK_INTERVAL_S), MachineSleep()
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            now = time.monotonic()
            self._tell_standstill(standstill.passed_s(), sleep.passed_s())
            self.observer.refusals.sum_up()
            self._check_engine(min(now - before, 2 * CHECK_INTERVAL_S))
            before = now
            self._connections.tell_each(lambda connection, now=now: connection.check(now))  # type: ignore[misc]

    def _tell_standstill(self, stood_s: float, slept_s: float) -> None:
        """Say what no client is to blame for, and count it for no time limit."""
        if slept_s:
            logger.warning(
                "the machine slept for {:.0f} s: {} sessions were live; clients elsewhere may be "
                "gone",
                slept_s,
                self.live_sessions,
            )
        if stood_s and self._state != "starting":
            logger.warning(
                "the process stood still for {:.1f} s (stopped, or starved by other programs): "
                "no time limit counts it; {} sessions go on",
                stood_s,
                self.live_sessions,
            )
            self._connections.tell_each(lambda connection: connection.stood_still(stood_s))

    def _check_engine(self, elapsed_s: float) -> None:
        if self._state == "starting":
            return
        self.engine.check(elapsed_s)
        if self.engine.failed and self._state != "failed":
            logger.critical("the engine has failed: no session is admitted any more")
            self.enter("failed")
            error = model_stopped()
            self._connections.tell_each(lambda connection: connection.fail(error))
            self.on_failure()

    async def run_jobs(self, folder: Path, max_waiting: int) -> None:
        """Convert jobs once sessions are admitted, and remove them in their time, for ever."""
        await self.files.run(folder, max_waiting, self._started, self.observer.task_restarted)

    async def drain(self) -> None:
        """Admit nobody, let sessions end for ``drain_s``, then end those that are left."""
        if self._state != "failed":
            self.enter("draining")
        if self._connections:
            logger.info("draining: {} sessions are live", len(self._connections))
        drain_s = self.limits.drain_s
        self._connections.tell_each(lambda connection: connection.go_away(drain_s))
        await self._connections.wait_until_empty(drain_s)
        self._connections.tell_each(lambda connection: connection.finish())
        # What was received is still converted; a client that does not read is not waited for.
        await self._connections.wait_until_empty(FINISH_S)
