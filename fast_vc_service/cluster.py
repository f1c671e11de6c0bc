"""The same service on Ray Serve: replicas with a model each, on as many machines as a cluster has.

    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=fast_vc_service.cluster:middlewares ray start --head
    serve run fast_vc_service.cluster:app max_sessions=12 max_replicas=4

A live session is one ongoing request of Serve, so ``max_ongoing_requests`` is the number of slots:
Serve routes a session to a replica that has one free and asks for more replicas by slots in use.
What Serve has no hook for is here: a replica that is to stop drains as a host does, and the proxy
closes a session properly when its replica has died. Needs the extra ``cluster``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fast_vc_service.commands import serve as start
from fast_vc_service.engine.supervision import supervise
from fast_vc_service.errors import SettingsError
from fast_vc_service.process import logs
from fast_vc_service.process.home import find_home
from fast_vc_service.process.interpreter import freeze_garbage
from fast_vc_service.protocol.codes import ErrorCode
from fast_vc_service.server.local_access import LocalAccess
from fast_vc_service.server.runner import DRAIN_ATTEMPTS
from fast_vc_service.server.service import FINISH_S
from fast_vc_service.settings import Settings, load_settings

STOP_MARGIN_S = 5.0
"""What a replica has beyond its drain before Serve kills it."""

FULL_RETRY_S = 30
"""What a client is told to wait when no replica has a free slot: until Serve has started one."""

LOOK_BACK_S, UPSCALE_DELAY_S = 15.0, 3.0
"""Sessions last minutes, so what is in use now says enough; a full cluster refuses meanwhile."""


class ClusterOptions(BaseModel):
    """What a cluster has beyond the settings of a service.

    Attributes:
        min_replicas: Fewest replicas; that many start at once.
        max_replicas: Most replicas.
        target_load: Part of the slots in use that scaling aims at.
        downscale_delay_s: How long fewer replicas must do before one is stopped.
        replica_cpus: CPUs that a replica reserves.
        replica_gpus: GPUs that a replica reserves; None is one for each CUDA device it names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_replicas: int = Field(1, ge=1)
    max_replicas: int = Field(1, ge=1)
    target_load: float = Field(0.75, gt=0, le=1)
    downscale_delay_s: float = Field(600.0, ge=0)
    replica_cpus: float = Field(1.0, ge=0)
    replica_gpus: float | None = Field(None, ge=0)


class Replica:
    """One copy of the service inside a Serve replica.

    Args:
        settings: Effective settings, paths absolute.
    """

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]

        from fast_vc_service import app  # imports torch

        logs.configure(
            level=settings.log_level,
            as_json=settings.log_json,
            secrets=(key.key.get_secret_value() for key in settings.api_keys),
        )
        app.tune_process(settings)
        # Serve's proxies come before it: where they connect from says nothing.
        nobody = LocalAccess(by_address=False)
        self._service = service = app.build_service(settings, local=nobody)
        self._app = app.create_app(service, settings)
        self._tasks: set[asyncio.Task[None]] = set()
        warming = self._spawn(app.warm_up_service(service))
        while service.state == "starting":
            # Serve sends sessions as soon as this returns; the rest of the voices may follow.
            done, _ = await asyncio.wait({warming}, timeout=0.05)
            for task in done:
                task.result()
        freeze_garbage()
        self._watch_for_stop()

    def check_health(self) -> None:
        """Have Serve replace this replica when its model cannot be brought back.

        Raises:
            RuntimeError: It cannot.
        """
        if self._service.state == "failed":
            raise RuntimeError("the engine has failed")

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the application, as Serve's proxies call it."""
        return relayed(self._app)

    async def __del__(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._service.engine.stop()

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _watch_for_stop(self) -> None:
        """Drain when Serve takes this replica out of those it routes to.

        Serve then only waits until no request is left, and kills it in the end; it has no hook to
        tell sessions, so this listens to what its proxies listen to.
        """
        from ray import serve
        from ray.serve._private.long_poll import LongPollClient, LongPollNamespace
        from ray.serve.context import _get_global_client

        own = serve.get_replica_context().replica_id
        listed = False

        def targets(info: Any) -> None:
            nonlocal listed
            here = any(each.replica_id == own for each in info.running_replicas)
            if listed and not here and self._service.state == "ready":
                self._spawn(
                    supervise(
                        "drain",
                        self._service.drain,
                        on_restart=self._service.observer.task_restarted,
                        attempts=DRAIN_ATTEMPTS,
                    )
                )
            listed = listed or here

        self._targets = LongPollClient(
            _get_global_client()._controller,
            {(LongPollNamespace.DEPLOYMENT_TARGETS, own.deployment_id): targets},
            call_in_event_loop=asyncio.get_running_loop(),
            client_id=str(own),
        )


class RelayedWire:
    """The wire of a connection that Serve's proxy holds: what it offers goes by ASGI messages.

    The proxy takes all output, so a peer that does not read is not noticed here.

    Attributes:
        take_now: Never called; audio comes as messages.
    """

    take_now: Callable[[bytes], bool] | None = None

    def know(self) -> None:
        """Leave it to the proxy what is read."""

    def arrived_at(self) -> float:
        """Say when what is being taken has come: now, for all that is known here."""
        return time.monotonic()

    def send_now(self, payload: bytes) -> bool:  # noqa: ARG002
        """Send nothing: the proxy is reached by a task alone."""
        return False

    def unsent_bytes(self) -> int:
        """Nothing waits here."""
        return 0

    def abort(self) -> None:
        """Leave the line to the proxy, which cuts it when the application returns."""


def relayed(app: ASGIApp) -> ASGIApp:
    """Return ``app`` for connections whose proxy is elsewhere."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            extensions = {**(scope.get("extensions") or {}), "connection": RelayedWire()}
            scope = {**scope, "extensions": extensions}
        await app(scope, receive, send)

    return serve


class SessionGuard:
    """Middleware of Serve's proxies: every WebSocket ends with an answer or a close code.

    Without it a session whose replica has died ends as if the network had (1006), and an upgrade
    that finds no free slot as if the service were broken (500).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        accepted = closed = False

        async def passed(message: Message) -> None:
            nonlocal accepted, closed
            kind = message["type"]
            if kind.startswith("http.response."):
                message = {**message, "type": f"websocket.{kind}"}
                kind = message["type"]
            accepted = accepted or kind == "websocket.accept"
            closed = closed or kind == "websocket.close"
            await send(message)

        async def heard() -> Message:
            nonlocal closed
            message = await receive()
            closed = closed or message["type"] == "websocket.disconnect"
            return message

        try:
            await self._app(scope, heard, passed)
        finally:
            if accepted and not closed:
                code = ErrorCode.GOING_AWAY.close_code
                reason = "the replica of this session is gone; connect again"
                await send({"type": "websocket.close", "code": code, "reason": reason})


def middlewares() -> list[Middleware]:
    """Return what Serve's proxies need; named in RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH."""
    return [Middleware(SessionGuard)]


def on_own_gpus(settings: Settings, asked: float | None) -> tuple[float, Settings]:
    """Return the GPUs that a replica reserves, and the settings that it runs with.

    A replica sees no GPUs but its own, numbered from 0.
    """
    names = settings.device.split(",")
    cuda = [name for name in names if name.startswith("cuda")]
    renumbered = iter(range(len(cuda)))
    own = [f"cuda:{next(renumbered)}" if name in cuda else name for name in names]
    gpus = float(len(cuda)) if asked is None else asked
    return gpus, settings.model_copy(update={"device": ",".join(own)})


def app(arguments: Mapping[str, str]) -> Any:
    """Return the Serve application, for ``serve run`` and ``serve deploy``.

    Args:
        arguments: Members of :class:`ClusterOptions` and settings, by their names.

    Raises:
        SettingsError: One of them is wrong, or ``max_sessions`` is not set.
    """
    own = {name: arguments[name] for name in ClusterOptions.model_fields.keys() & arguments}
    rest = {name: value for name, value in arguments.items() if name not in own}
    loaded = load_settings(rest, home=find_home())
    start.check(loaded)
    settings = loaded.settings
    try:
        options = ClusterOptions.model_validate(own)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"{first['loc'][0]}: {first['msg']}, got {first['input']!r}") from None
    slots = settings.max_sessions
    if slots is None:
        raise SettingsError(
            "max_sessions: expected the sessions a replica carries, got none; Serve has to know "
            "before a replica can measure it: `fast-vc doctor` says how many fit on a machine"
        )
    gpus, settings = on_own_gpus(settings, options.replica_gpus)
    from ray import serve
    from ray.serve.config import AutoscalingConfig, BackpressureConfig

    deployment = serve.deployment(serve.ingress()(Replica)).options(
        name="fast-vc",
        ray_actor_options={"num_cpus": options.replica_cpus, "num_gpus": gpus},
        max_ongoing_requests=slots,
        max_queued_requests=slots,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=FULL_RETRY_S),
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=settings.drain_s + FINISH_S + STOP_MARGIN_S,
        autoscaling_config=AutoscalingConfig(
            min_replicas=options.min_replicas,
            initial_replicas=options.min_replicas,
            max_replicas=max(options.min_replicas, options.max_replicas),
            target_ongoing_requests=max(1.0, options.target_load * slots),
            look_back_period_s=LOOK_BACK_S,
            upscale_delay_s=UPSCALE_DELAY_S,
            downscale_delay_s=options.downscale_delay_s,
        ),
    )
    return deployment.bind(settings)
