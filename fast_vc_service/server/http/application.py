"""The HTTP application: health, version, metrics, performance report, and the other routes.

Every error has the shape of :mod:`fast_vc_service.server.http.problems`. With keys configured, all
routes but the health ones and ``/version`` need one. Nothing here loads anything from another host:
the interactive docs pages of the framework are off, ``/openapi.json`` describes the routes.
"""

from __future__ import annotations

import asyncio
import functools
import json
import platform
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any, Protocol

from fastapi import APIRouter, Depends, FastAPI, Request
from loguru import logger
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from fast_vc_service import __version__
from fast_vc_service.process.disk import is_disk_error
from fast_vc_service.protocol.codes import EdgeCode, ErrorCode
from fast_vc_service.server.auth import KeyRing
from fast_vc_service.server.http import openapi
from fast_vc_service.server.http.access import key_check, place_check
from fast_vc_service.server.http.jobs.routes import Files, file_routes
from fast_vc_service.server.http.page import PageFiles, page_routes
from fast_vc_service.server.http.problems import Problem, ProblemError, problem, respond
from fast_vc_service.server.http.refusals import no_space
from fast_vc_service.server.http.state_models import (
    Alive,
    Health,
    Readiness,
    Report,
    Sessions,
    Version,
)
from fast_vc_service.server.http.token_routes import token_routes
from fast_vc_service.server.http.voice_models import ClipLimits
from fast_vc_service.server.http.voice_routes import voice_routes
from fast_vc_service.server.measurements import Measurements
from fast_vc_service.server.metrics import CONTENT_TYPE, Watched
from fast_vc_service.server.websocket import asyncapi

READY_RETRY_S = 5
"""Seconds in ``Retry-After`` while the service is not ready."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class ServiceView(Watched, Files, Protocol):
    """What the routes need of the service."""

    @property
    def started_at(self) -> float:
        """Seconds since the epoch."""
        ...

    @property
    def keys(self) -> KeyRing:
        """The keys clients may present."""
        ...

    @property
    def observer(self) -> Measurements:
        """The metrics and the performance report."""
        ...

    @property
    def clip_limits(self) -> ClipLimits:
        """What the clip of a new voice may be."""
        ...

    @property
    def warnings(self) -> list[str]:
        """What whoever operates it should know; empty when all is well."""
        ...

    @property
    def can_blend(self) -> bool:
        """Whether blends of voices can be chosen."""
        ...


def create_http_app(service: ServiceView, *, lifespan: Lifespan | None = None) -> FastAPI:
    """Return an application with all routes and with errors in one shape."""
    app = FastAPI(
        title="fast-vc-service",
        summary="Real-time voice conversion",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        # Served by a route of our own below, which asks for a key.
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.include_router(router(service))
    app.include_router(page_routes())
    app.mount("/demo", PageFiles(), name="demo")
    app.add_exception_handler(ProblemError, _problem_answer(service.observer))
    app.add_exception_handler(HTTPException, _answer_http_error)
    for kind in (OSError, sqlite3.Error):
        app.add_exception_handler(kind, _answer_disk_error)
    app.add_exception_handler(Exception, _answer_fault)
    return app


def router(service: ServiceView) -> APIRouter:
    """Return the routes over ``service``; :func:`create_http_app` adds how errors are answered."""
    routes = APIRouter()
    routes.include_router(_open_routes(service))
    key, place = Depends(key_check(service.keys)), Depends(place_check(service.keys))
    voices = voice_routes(
        service.voices, service.clip_limits, service.scratch, can_blend=service.can_blend
    )
    for keyed, checks in (
        (_measurement_routes(service), [key]),
        (_description_routes(), [key]),
        (token_routes(service.keys), [key]),
        (voices, [key, place]),
        (file_routes(service), [key, place]),
    ):
        routes.include_router(
            keyed,
            dependencies=checks,
            responses={401: {"model": Problem, "description": "The key is missing or wrong."}},
        )
    return routes


def _open_routes(service: ServiceView) -> APIRouter:
    routes = APIRouter(tags=["health"])
    unready: dict[int | str, dict[str, Any]] = {
        503: {"description": "Starting, draining or failed; no session is admitted."}
    }

    @routes.head("/health/live", include_in_schema=False)
    @routes.get("/health/live", response_model=Alive)
    async def live() -> Response:
        """Tell that the process answers, whatever its state."""
        return respond(200, Alive().model_dump())

    @routes.head("/health/ready", include_in_schema=False)
    @routes.get("/health/ready", response_model=Readiness, responses=unready)
    async def ready() -> Response:
        """Tell whether sessions are admitted: 200, or 503 in every state but ready."""
        return _by_state(service, Readiness(state=service.state))

    @routes.head("/health", include_in_schema=False)
    @routes.get("/health", response_model=Health, responses=unready)
    async def health() -> Response:
        """Tell state, load and version; 200 when ready, else 503."""
        state = service.state
        return _by_state(
            service,
            Health(
                status="healthy" if state == "ready" else state,
                state=state,
                engine=service.engine_name,
                sessions=Sessions(live=service.live_sessions, capacity=service.capacity),
                warnings=service.warnings,
                uptime_s=_uptime_s(service),
                version=__version__,
            ),
        )

    @routes.get("/version", response_model=Version)
    async def version() -> Response:
        """Tell what exactly runs."""
        torch = sys.modules.get("torch")
        return respond(
            200,
            Version(
                version=__version__,
                python=platform.python_version(),
                torch=str(torch.__version__) if torch is not None else None,
            ).model_dump(),
        )

    return routes


def _measurement_routes(service: ServiceView) -> APIRouter:
    routes = APIRouter(tags=["measurements"])

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {
                "description": "Prometheus text format.",
                "content": {
                    "text/plain": {
                        "schema": {"type": "string"},
                        "example": "# HELP fast_vc_sessions_live Sessions that hold a slot.\n"
                        "# TYPE fast_vc_sessions_live gauge\n"
                        "fast_vc_sessions_live 3.0\n",
                    }
                },
            }
        },
    )
    async def metrics() -> Response:
        """Return the metrics for Prometheus."""
        return Response(
            service.observer.metrics.render(),
            headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"},
        )

    @routes.get("/tools/performance-report", response_model=Report)
    async def performance_report() -> Response:
        """Return where a block's time goes, by stage."""
        stages = service.observer.report.as_dict()
        return respond(200, {"uptime_s": _uptime_s(service), "stages_ms": stages})

    return routes


def _description_routes() -> APIRouter:
    routes = APIRouter()
    # A document takes up to 60 ms to build: once, and not on the event loop.
    openapi_json = functools.cache(lambda app: _json(openapi.describe(app)))
    asyncapi_json = functools.cache(lambda: _json(asyncapi.describe()))

    @routes.get("/openapi.json", include_in_schema=False)
    async def openapi_document(request: Request) -> Response:
        """Return the description of these routes."""
        return _document(await asyncio.to_thread(openapi_json, request.app))

    @routes.get("/asyncapi.json", include_in_schema=False)
    async def asyncapi_document() -> Response:
        """Return the description of the WebSocket protocol."""
        return _document(await asyncio.to_thread(asyncapi_json))

    return routes


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _document(content: bytes) -> Response:
    return Response(content, 200, {"cache-control": "no-store"}, "application/json")


def _by_state(service: ServiceView, body: BaseModel) -> JSONResponse:
    if service.state == "ready":
        return respond(200, body.model_dump())
    return respond(503, body.model_dump(), {"retry-after": str(READY_RETRY_S)})


def _uptime_s(service: ServiceView) -> float:
    return round(max(time.time() - service.started_at, 0.0), 3)


def _problem_answer(observer: Measurements) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(_request: Request, error: Exception) -> Response:
        if not isinstance(error, ProblemError):
            raise TypeError(f"expected a ProblemError, got {type(error).__name__}")
        if error.status == 401:
            observer.refused(ErrorCode.AUTH_FAILED)
        return respond(error.status, error.body, error.headers)

    return answer


async def _answer_disk_error(_request: Request, error: Exception) -> Response:
    if not is_disk_error(error):
        raise error
    logger.warning("a request is refused, since the disk cannot be written: {}", error)
    refusal = no_space()
    return respond(refusal.status, refusal.body)


async def _answer_http_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError(f"expected an HTTPException, got {type(error).__name__}")
    return respond(error.status_code, _problem_of(error.status_code), error.headers)


def _problem_of(status: int) -> dict[str, Any]:
    if status == 404:
        return problem(
            EdgeCode.NOT_FOUND,
            "there is no such route",
            hint="audio goes over WebSocket, to /ws; the HTTP routes are in /openapi.json",
        )
    if status == 405:
        return problem(EdgeCode.METHOD_NOT_ALLOWED, "the route does not know that method")
    return problem(EdgeCode.HTTP_ERROR, HTTPStatus(status).phrase.lower())


async def _answer_fault(_request: Request, _error: Exception) -> Response:
    return respond(
        500,
        problem(
            ErrorCode.INTERNAL_ERROR,
            "the service made a mistake",
            hint="the log of the service says more",
        ),
    )
