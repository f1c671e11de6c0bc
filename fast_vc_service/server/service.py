"""The running service as the network edge sees it: state, admission, drain."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from loguru import logger

from fast_vc_service.engine.build import Engine
from fast_vc_service.engine.catalogue import VoiceCatalogue
from fast_vc_service.lifecycle import ServiceState
from fast_vc_service.server.auth import KeyRing
from fast_vc_service.server.jobs.models import FileLimits
from fast_vc_service.server.jobs.store import JobStore, StoreTakenError
from fast_vc_service.server.jobs.work import FileWork
from fast_vc_service.server.measurements import Measurements
from fast_vc_service.server.turnover import RETRY_S, Turnover
from fast_vc_service.server.voice_models import ClipLimits
from fast_vc_service.sessions.session import SessionLimits

FINISH_S = 3.0
"""Time the last audio of sessions has that were still live at the drain deadline; together with
uvicorn's own shutdown it stays within the 5 s that ``fast-vc stop`` waits beyond ``drain_s``."""


EXPIRE_INTERVAL_S = 60.0
"""How often old jobs are looked for."""


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


class LiveConnection(Protocol):
    """What the service needs of a connection that holds a slot."""

    def go_away(self, in_s: float) -> None:
        """Tell the client that the service will stop in ``in_s`` seconds."""
        ...

    def finish(self) -> None:
        """End the session as if ``end`` had come, then say GOING_AWAY."""
        ...

    def check(self, now: float) -> None:
        """Enforce the time limits; called twice a second."""
        ...


@dataclass
class Service:
    """Everything the routes and the WebSocket endpoint share."""

    engine: Engine
    keys: KeyRing
    limits: EdgeLimits
    session_limits: SessionLimits
    recording: Recording
    observer: Measurements
    work: FileWork
    clip_limits: ClipLimits = field(default_factory=ClipLimits)
    file_limits: FileLimits = field(default_factory=FileLimits)
    job_retention_s: float = 24 * 3600.0
    jobs: JobStore | None = None
    on_state: Callable[[ServiceState], None] = lambda _state: None
    started_at: float = field(default_factory=time.time)
    _state: ServiceState = "starting"
    _connections: set[LiveConnection] = field(default_factory=set)
    _empty: asyncio.Event = field(default_factory=asyncio.Event)
    _turnover: Turnover = field(default_factory=Turnover)
    _started: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def state(self) -> ServiceState:
        """``starting`` until warm, ``ready``, ``draining`` once stopping."""
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
    def voices(self) -> VoiceCatalogue:
        """The voices sessions may choose from."""
        return self.engine.voices

    @property
    def live_sessions(self) -> int:
        """Sessions that hold a slot."""
        return self.engine.live

    @property
    def capacity(self) -> int:
        """Sessions that fit; 0 before the warm-up."""
        return self.engine.capacity

    def enter(self, state: ServiceState) -> None:
        """Change state and tell whoever keeps the service info."""
        self._state = state
        self._started.set()
        self.on_state(state)

    async def warm_up(self) -> None:
        """Make the engine ready, then admit sessions; voices but the default follow after."""
        started = time.monotonic()
        measured = await asyncio.to_thread(self.engine.warm_up)
        for lane, capacity in zip(self.engine.placement.lanes, measured, strict=True):
            logger.info(
                "{} on {}: step p95 {:.1f} ms over {} sessions, a block is {:.0f} ms, {} fit",
                self.engine.name,
                lane.device,
                capacity.step_s * 1e3,
                capacity.batch,
                capacity.block_s * 1e3,
                capacity.sessions,
            )
        logger.info(
            "warm after {:.1f} s, {} sessions fit", time.monotonic() - started, self.capacity
        )
        if self._state == "starting":
            self.enter("ready")
        await self._make_voices()

    async def _make_voices(self) -> None:
        await asyncio.to_thread(self.voices.sweep)
        for name in self.engine.voices.names():
            if self._state != "ready":
                return
            try:
                await asyncio.to_thread(self.engine.voices.get, name)
            except (LookupError, ValueError) as error:
                logger.warning("voice {} cannot be made: {}", name, error)

    def retry_after_s(self) -> int:
        """In how many seconds a client that was refused should come again."""
        if self._state == "ready":
            return self._turnover.retry_after_s(time.monotonic())
        # How long a warm-up still takes is not known, nor whether who stops will be back.
        return RETRY_S

    def joined(self, connection: LiveConnection) -> None:
        """Count a connection that took a slot."""
        self._connections.add(connection)
        self._empty.clear()

    def left(self, connection: LiveConnection) -> None:
        """Forget a connection that gave its slot back."""
        self._turnover.ended(time.monotonic())
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def watch(self) -> None:
        """Check every connection's time limits twice a second, for ever."""
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            for connection in list(self._connections):
                connection.check(now)

    async def run_jobs(self, folder: Path, max_waiting: int) -> None:
        """Convert jobs once sessions are admitted, and remove them in their time, for ever."""
        try:
            store = await asyncio.to_thread(JobStore, folder, max_waiting)
        except (StoreTakenError, OSError) as error:
            logger.warning("this service keeps no jobs: {}", error)
            return
        self.jobs = store
        expiring = asyncio.create_task(self._expire_jobs(store))
        try:
            await self._started.wait()
            await self.work.run_jobs(store)
        finally:
            expiring.cancel()
            self.jobs = None
            store.close()

    async def _expire_jobs(self, store: JobStore) -> None:
        while True:
            before = time.time() - self.job_retention_s
            if removed := await asyncio.to_thread(store.expire, before):
                logger.info("{} old jobs removed", removed)
            await asyncio.sleep(min(EXPIRE_INTERVAL_S, self.job_retention_s))

    async def drain(self) -> None:
        """Admit nobody, let sessions end for ``drain_s``, then end those that are left."""
        self.enter("draining")
        if self._connections:
            logger.info("draining: {} sessions are live", len(self._connections))
        for connection in list(self._connections):
            connection.go_away(self.limits.drain_s)
        await self._wait_until_empty(self.limits.drain_s)
        for connection in list(self._connections):
            connection.finish()
        # What was received is still converted; a client that does not read is not waited for.
        await self._wait_until_empty(FINISH_S)

    async def _wait_until_empty(self, seconds: float) -> None:
        if self._connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
