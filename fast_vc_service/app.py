"""Wires the rooms together: settings in, a running service out.

Sockets are bound before this is called; warm-up is a task, so that the service can say that it is
starting instead of refusing connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from fastapi import FastAPI
from loguru import logger
from starlette.types import ASGIApp, Receive, Scope, Send

from fast_vc_service.contract import SAMPLE_RATE_IN, Converter
from fast_vc_service.engine.build import engine_of, seedvc_source
from fast_vc_service.engine.families import build_converter
from fast_vc_service.errors import SettingsError, UserError
from fast_vc_service.lifecycle import ServiceInfoFile, ServiceState
from fast_vc_service.server.auth import KeyEntry, KeyRing
from fast_vc_service.server.http import create_http_app
from fast_vc_service.server.jobs.models import FileLimits
from fast_vc_service.server.jobs.work import FileWork
from fast_vc_service.server.limits import ConnectionLimits
from fast_vc_service.server.measurements import Measurements
from fast_vc_service.server.metrics import Metrics
from fast_vc_service.server.runner import DrainingServer, uvicorn_config
from fast_vc_service.server.service import EdgeLimits, Recording, Service
from fast_vc_service.server.voice_models import ClipLimits
from fast_vc_service.server.websocket import WebSocketEndpoint
from fast_vc_service.sessions.recorder import prune
from fast_vc_service.sessions.report import PerformanceReport
from fast_vc_service.sessions.session import SessionLimits
from fast_vc_service.settings import Settings

WEBSOCKET_PATHS = ("/ws", "/")
PRUNE_INTERVAL_S = 3600.0
SWITCH_INTERVAL_S = 5e-4
"""How long one thread may keep the interpreter from another. Python's own 5 ms would be added to
a block twice: when a model thread starts on it and when the event loop takes it back."""


GARBAGE_THRESHOLD = 10_000
"""New objects, less those that are gone, after which the collector looks for cycles among them."""


def build_service(
    settings: Settings, on_state: Callable[[ServiceState], None] = lambda _state: None
) -> Service:
    """Build everything the service needs from ``settings``; nothing runs yet.

    Args:
        settings: Effective settings, paths absolute.
        on_state: Told of every change of state.

    Raises:
        ValueError: The engine cannot be built with these settings.
    """
    report = PerformanceReport()
    metrics = Metrics()
    observer = Measurements(metrics, report)
    engine = engine_of(settings, on_step=observer.step)

    def file_converter() -> Converter:
        return build_converter(
            settings.engine,
            device=settings.device,
            geometry="file",
            seedvc=seedvc_source(settings),
        )

    service = Service(
        engine=engine,
        keys=KeyRing(
            [
                KeyEntry(key.name, key.key.get_secret_value(), key.max_sessions, key.admin)
                for key in settings.api_keys
            ],
            failure_delay_s=settings.auth_failure_delay_ms / 1e3,
            token_s=settings.browser_token_s,
        ),
        limits=EdgeLimits(
            max_message_bytes=settings.max_message_bytes,
            handshake_timeout_s=settings.handshake_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
            max_session_s=settings.max_session_s,
            slow_reader_s=settings.slow_reader_s,
            drain_s=settings.drain_s,
        ),
        session_limits=SessionLimits(settings.max_buffered_ms, settings.late_ms),
        recording=Recording(settings.record, settings.outputs_dir),
        observer=observer,
        work=FileWork(file_converter, engine.voices.get, settings.file_workers),
        clip_limits=ClipLimits(
            max_clip_bytes=settings.max_clip_mb * 1_000_000, max_clip_s=settings.max_clip_s
        ),
        file_limits=FileLimits(
            max_file_bytes=settings.max_file_mb * 1_000_000, max_file_s=settings.max_file_s
        ),
        job_retention_s=settings.job_retention_h * 3600.0,
        on_state=on_state,
    )
    metrics.watch(service, engine.converter.block / SAMPLE_RATE_IN)
    return service


def create_app(service: Service, settings: Settings) -> ASGIApp:
    """Return the ASGI application of ``service``.

    WebSocket connections go to their endpoint directly: a framework's layers would be paid for
    with every 20 ms message.

    Raises:
        ValueError: An allowed host or origin is none.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(service.watch()),
            asyncio.create_task(_prune(settings.outputs_dir, settings.recording_retention_days)),
            asyncio.create_task(service.run_jobs(settings.data_dir / "jobs", settings.max_jobs)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(service.work.stop)

    http = create_http_app(service, lifespan=lifespan)
    endpoint = WebSocketEndpoint(service)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        live = scope["type"] == "websocket" and scope["path"] in WEBSOCKET_PATHS
        await (endpoint if live else http)(scope, receive, send)

    return ConnectionLimits(
        dispatch,
        allowed_hosts=settings.allowed_hosts,
        allowed_origins=settings.allowed_origins,
        max_connections=settings.max_connections,
        on_refused=service.observer.refused,
    )


def serve(settings: Settings, info: ServiceInfoFile, sock: socket.socket) -> int:
    """Run the service on a bound socket until it is stopped; return the exit status.

    Args:
        settings: Effective settings; certificate files are made.
        info: The service-info file, kept up to date here.
        sock: Bound and listening.

    Raises:
        SettingsError: The engine cannot be built with these settings.
    """

    def on_state(state: ServiceState) -> None:
        info.set_state(state)
        if state == "ready":
            settle_garbage()
            logger.info("ready: clients connect to {}", info.info.url)

    try:
        service = build_service(settings, on_state)
        app = create_app(service, settings)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    config = uvicorn_config(app, tls_cert=settings.tls_cert, tls_key=settings.tls_key)
    server = DrainingServer(config, service.drain)
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            return runner.run(_run(server, service, sock))
    finally:
        service.engine.stop()


def settle_garbage() -> None:
    """Keep the garbage collector off what stays for good, and let it look at the rest less often.

    A collection of everything stops all sessions for 70 ms, and 200 of them used to cause one every
    five seconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 20)


async def _run(server: DrainingServer, service: Service, sock: socket.socket) -> int:
    warm_up = asyncio.create_task(service.warm_up())

    def judge(done: asyncio.Task[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if isinstance(error, UserError):
            logger.critical("the engine cannot be made ready: {}", error)
        elif error is not None:
            logger.opt(exception=error).critical("the engine cannot be made ready")
        if error is not None:
            server.stop()

    warm_up.add_done_callback(judge)
    await server.serve(sockets=[sock])
    failed = warm_up.done() and not warm_up.cancelled() and warm_up.exception() is not None
    warm_up.cancel()
    return 1 if failed else 0


async def _prune(folder: Path, days: int | None) -> None:
    """Delete recordings that are older than they may become, now and every hour."""
    while days is not None:
        removed = await asyncio.to_thread(prune, folder, days)
        if removed:
            logger.info("{} recordings older than {} days deleted", removed, days)
        await asyncio.sleep(PRUNE_INTERVAL_S)
