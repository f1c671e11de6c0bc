"""Wires the rooms together: settings in, a running service out.

Sockets are bound before this is called; warm-up is a task, so that the service can say that it is
starting instead of refusing connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastapi import FastAPI
from loguru import logger
from starlette.types import ASGIApp, Receive, Scope, Send

from fast_vc_service.contract import SAMPLE_RATE_IN, Converter
from fast_vc_service.engine.build import engine_of, options_of
from fast_vc_service.engine.families import build_converter, family_of, first_device
from fast_vc_service.engine.model_thread import ModelThread
from fast_vc_service.engine.supervision import cancel_all, supervise
from fast_vc_service.errors import SettingsError, UserError
from fast_vc_service.process.ending import end_process
from fast_vc_service.process.interpreter import (
    freeze_garbage,
    limit_torch_threads,
    tune_for_live_audio,
)
from fast_vc_service.process.scratch import UPLOADS, ScratchFolder
from fast_vc_service.process.service_info import ServiceInfoFile
from fast_vc_service.process.systemd import ServiceManager
from fast_vc_service.protocol.codes import EdgeCode
from fast_vc_service.protocol.service_state import ServiceState
from fast_vc_service.server.auth import KeyEntry, KeyRing
from fast_vc_service.server.http.application import create_http_app
from fast_vc_service.server.http.jobs.decoding import FileDecoder
from fast_vc_service.server.http.jobs.keeping import FileJobs
from fast_vc_service.server.http.jobs.models import FileLimits
from fast_vc_service.server.http.jobs.work import FileWork
from fast_vc_service.server.http.response_headers import with_headers
from fast_vc_service.server.http.voice_models import ClipLimits
from fast_vc_service.server.local_access import LocalAccess
from fast_vc_service.server.measurements import Measurements
from fast_vc_service.server.metrics import Metrics
from fast_vc_service.server.refusal import no_such_socket, refuse
from fast_vc_service.server.request_policy import ConnectionLimits
from fast_vc_service.server.runner import DrainingServer, uvicorn_config
from fast_vc_service.server.service import EdgeLimits, Recording, Service
from fast_vc_service.server.sockets.descriptors import places_for
from fast_vc_service.server.sockets.places import Places
from fast_vc_service.server.websocket.connection import WebSocketEndpoint
from fast_vc_service.server.workers import Workers
from fast_vc_service.sessions.pacing import SessionLimits
from fast_vc_service.sessions.recorder import SHARED_WRITER, prune
from fast_vc_service.sessions.report import PerformanceReport
from fast_vc_service.settings import Settings
from fast_vc_service.voices.build import catalogue_of
from fast_vc_service.voices.catalogue import VoiceCatalogue
from fast_vc_service.voices.making import MakerElsewhere, Recipe

WEBSOCKET_PATHS = ("/ws", "/")
PRUNE_INTERVAL_S = 3600.0
WARM_UP_ATTEMPTS = 3

TOLD_TO_MANAGER: dict[ServiceState, str] = {
    "starting": "STATUS=starting",
    "ready": "READY=1\nSTATUS=ready",
    "draining": "STOPPING=1\nSTATUS=draining",
    "failed": "STATUS=failed: only a new process helps",
}
"""By state, what systemd is told."""

EXIT_S = 2.0
"""How long the process has to end once it has drained; what still runs then is not waited for."""


def build_service(
    settings: Settings,
    on_state: Callable[[ServiceState], None] = lambda _state: None,
    *,
    local: LocalAccess | None = None,
) -> Service:
    """Build everything the service needs from ``settings``; nothing runs yet.

    Args:
        settings: Effective settings, paths absolute.
        on_state: Told of every change of state.
        local: Who counts as being on this machine; None judges by where a request comes from.

    Raises:
        ValueError: The engine cannot be built with these settings.
    """
    report = PerformanceReport()
    metrics = Metrics()
    observer = Measurements(metrics, report)
    SHARED_WRITER.on_restart = observer.task_restarted
    engine = engine_of(settings, on_step=observer.step, on_restart=observer.task_restarted)
    workers = Workers.watched(observer.worker_failed)
    recipe = Recipe(settings.engine, options_of(settings), engine.converter.family)
    voices = catalogue_of(settings, engine.converter, MakerElsewhere(workers.voices, recipe))
    service = Service(
        engine=engine,
        voices=voices,
        keys=_key_ring(settings, local),
        limits=_edge_limits(settings),
        session_limits=SessionLimits(settings.max_buffered_ms, settings.late_ms),
        recording=Recording(settings.record, settings.outputs_dir),
        observer=observer,
        files=_file_jobs(settings, voices, workers),
        clip_limits=ClipLimits(
            max_clip_bytes=settings.max_clip_mb * 1_000_000, max_clip_s=settings.max_clip_s
        ),
        on_state=on_state,
    )
    metrics.watch(service, engine.converter.block / SAMPLE_RATE_IN)
    return service


def _file_jobs(settings: Settings, voices: VoiceCatalogue, workers: Workers) -> FileJobs:
    def file_converter() -> Converter:
        return build_converter(
            settings.engine,
            device=first_device(settings.device),
            geometry="file",
            options=options_of(settings),
        )

    scratch = ScratchFolder(settings.temp_dir / UPLOADS)
    decoder = FileDecoder(workers.files, scratch)
    return FileJobs(
        FileWork(file_converter, voices.get, decoder, settings.file_workers),
        decoder,
        scratch,
        FileLimits(max_file_bytes=settings.max_file_mb * 1_000_000, max_file_s=settings.max_file_s),
        settings.job_retention_h * 3600.0,
        close_workers=workers.close,
    )


def _key_ring(settings: Settings, local: LocalAccess | None) -> KeyRing:
    return KeyRing(
        [
            KeyEntry(key.name, key.key.get_secret_value(), key.max_sessions, key.admin)
            for key in settings.api_keys
        ],
        failure_delay_s=settings.auth_failure_delay_ms / 1e3,
        token_s=settings.browser_token_s,
        local=local,
    )


def _edge_limits(settings: Settings) -> EdgeLimits:
    return EdgeLimits(
        max_message_bytes=settings.max_message_bytes,
        handshake_timeout_s=settings.handshake_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        max_session_s=settings.max_session_s,
        slow_reader_s=settings.slow_reader_s,
        drain_s=settings.drain_s,
    )


def create_app(service: Service, settings: Settings) -> ASGIApp:
    """Return the ASGI application of ``service``.

    WebSocket connections go to their endpoint directly: a framework's layers would be paid for
    with every 20 ms message.

    Raises:
        ValueError: An allowed host or origin is none.
    """

    def background(name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        watched = supervise(name, work, on_restart=service.observer.task_restarted)
        return asyncio.create_task(watched, name=name)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tasks = [
            background("watch", service.watch),
            background("capacity", service.follow_capacity),
            background("voices", service.make_voices),
            background(
                "pruning", lambda: _prune(settings.outputs_dir, settings.recording_retention_days)
            ),
            background(
                "jobs", lambda: service.run_jobs(settings.data_dir / "jobs", settings.max_jobs)
            ),
            background("uploads", lambda: _sweep(service.scratch)),
            background("watchdog", lambda: feed_watchdog(service, ServiceManager())),
        ]
        try:
            yield
        finally:
            await cancel_all(tasks)
            await asyncio.to_thread(service.work.stop)
            await asyncio.to_thread(service.files.close_workers)
            await asyncio.to_thread(service.scratch.close)

    http = with_headers(create_http_app(service, lifespan=lifespan))
    endpoint = WebSocketEndpoint(service)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await http(scope, receive, send)
        elif scope["path"] in WEBSOCKET_PATHS:
            await endpoint(scope, receive, send)
        else:
            service.observer.refused(EdgeCode.NOT_FOUND)
            await refuse(no_such_socket(), scope, receive, send)

    return ConnectionLimits(
        dispatch,
        allowed_hosts=settings.allowed_hosts,
        allowed_origins=settings.allowed_origins,
        max_connections=settings.max_connections,
        keys=service.keys,
        on_refused=service.observer.refused,
    )


def serve(
    settings: Settings,
    info: ServiceInfoFile,
    sock: socket.socket,
    *,
    local_token: str | None = None,
    local_by_address: bool = True,
    on_built: Callable[[], None] = lambda: None,
    on_change: Callable[[Service], None] = lambda _service: None,
) -> int:
    """Run the service on a bound socket until it is stopped; return the exit status.

    Args:
        settings: Effective settings; certificate files are made.
        info: The service-info file, kept up to date here.
        sock: Bound and listening.
        local_token: What stands for being on this machine.
        local_by_address: Whether where a request comes from says that it is.
        on_built: Told when weights are loaded and the warm-up begins.
        on_change: Told of the service in its new state.

    Raises:
        SettingsError: The engine cannot be built with these settings.
    """
    writer = ThreadPoolExecutor(1, "service-info")

    manager = ServiceManager()

    def on_state(state: ServiceState) -> None:
        manager.tell(TOLD_TO_MANAGER[state])
        if state == "ready":
            freeze_garbage()
        on_change(service)
        writer.submit(_tell_state, info, state)

    tune_process(settings)
    local = LocalAccess(by_address=local_by_address, token=local_token)
    try:
        service = build_service(settings, on_state, local=local)
        app = create_app(service, settings)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    on_built()

    def clean_up() -> None:
        info.remove()
        SHARED_WRITER.close()

    never_warm = threading.Event()

    def status() -> int:
        failed = settings.exit_on_failure and service.state == "failed"
        return int(failed or never_warm.is_set())

    def limit_exit() -> None:
        end_process(EXIT_S, status, clean_up)

    server = _draining_server(app, settings, service, limit_exit)
    if settings.exit_on_failure:
        service.on_failure = server.stop_gently
    try:
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(_run(server, service, sock, never_warm.set))
    finally:
        service.engine.stop()
        writer.shutdown()
    if any(isinstance(thread, ModelThread) for thread in threading.enumerate()):
        # It may be anywhere in a library that does not survive the end of the interpreter.
        end_process(0.0, status, clean_up)
    return status()


def _draining_server(
    app: ASGIApp, settings: Settings, service: Service, on_exit: Callable[[], None]
) -> DrainingServer:
    """Return the server of ``app``; it listens to nothing yet."""
    config = uvicorn_config(
        app,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        max_message_bytes=settings.max_message_bytes,
    )

    def on_stall(seconds: float) -> None:
        # While the engine warms up nobody is there to notice.
        if service.state != "starting":
            service.observer.stalled(seconds)

    return DrainingServer(
        config,
        service.drain,
        places=Places(
            places_for(settings.max_connections),
            on_refused=service.observer.refused,
        ),
        on_stall=on_stall,
        on_restart=service.observer.task_restarted,
        on_exit=on_exit,
    )


def _tell_state(info: ServiceInfoFile, state: ServiceState) -> None:
    try:
        info.set_state(state)
    except OSError as error:
        logger.warning("{} cannot say that the service is {}: {}", info.path, state, error)


def tune_process(settings: Settings) -> None:
    """Set what Python and PyTorch have one of for the whole process; nothing changes it later."""
    tune_for_live_audio()
    limit_torch_threads(family_of(settings.engine).torch_threads)


async def _run(
    server: DrainingServer,
    service: Service,
    sock: socket.socket,
    on_never_warm: Callable[[], None],
) -> None:
    """Serve until the end; ``on_never_warm`` is told when the engine cannot be made ready."""
    warm_up = asyncio.create_task(warm_up_service(service), name="warm-up")

    def judge(done: asyncio.Task[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if isinstance(error, UserError):
            logger.critical("the engine cannot be made ready: {}", error)
        elif error is not None:
            logger.opt(exception=error).critical("the engine cannot be made ready")
        if error is not None:
            on_never_warm()
            server.stop()

    warm_up.add_done_callback(judge)
    await server.serve(sockets=[sock])
    warm_up.cancel()


async def warm_up_service(service: Service) -> None:
    """Make the service ready, in a few attempts where another one may help.

    Raises:
        Exception: It cannot be made ready.
    """
    await supervise(
        "warm-up",
        service.warm_up,
        on_restart=service.observer.task_restarted,
        attempts=WARM_UP_ATTEMPTS,
        final=(UserError, LookupError, ValueError),
    )


async def feed_watchdog(service: Service, manager: ServiceManager) -> None:
    """Tell ``manager`` in time that the event loop turns and the model threads work, for ever.

    Threads that hang are replaced; when that has failed, nothing is told any more.
    """
    while manager.watchdog_s:
        if not service.engine.failed:
            manager.tell("WATCHDOG=1")
        await asyncio.sleep(manager.watchdog_s / 4)


async def _sweep(scratch: ScratchFolder) -> None:
    """Remove what uploads of killed services have left, now and every hour."""
    while True:
        if removed := await asyncio.to_thread(scratch.sweep):
            logger.info("{} folders of services that have ended were removed", removed)
        await asyncio.sleep(PRUNE_INTERVAL_S)


async def _prune(folder: Path, days: int | None) -> None:
    """Delete recordings that are older than they may become, now and every hour."""
    while days is not None:
        removed = await asyncio.to_thread(prune, folder, days)
        if removed:
            logger.info("{} recordings older than {} days deleted", removed, days)
        await asyncio.sleep(PRUNE_INTERVAL_S)
