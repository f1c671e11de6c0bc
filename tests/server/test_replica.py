"""A replica by itself; what it needs of Ray is stood in for, so that CI needs no Ray."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from speech import ROOT

from fast_vc_service import app, cluster
from fast_vc_service.protocol.service_state import ServiceState
from fast_vc_service.settings import Settings, load_settings
from waiting import until_async

OWN = SimpleNamespace(deployment_id="fast-vc", unique_id="own")


@dataclass
class Ray:
    """Keeps what a replica asks to be told."""

    told: list[Callable[[Any], None]] = field(default_factory=list)

    def listen(self, _controller: object, listeners: dict[Any, Any], **_more: object) -> None:
        self.told += listeners.values()

    def route_to(self, *replicas: object) -> None:
        info = SimpleNamespace(
            running_replicas=[SimpleNamespace(replica_id=each) for each in replicas]
        )
        for tell in self.told:
            tell(info)


class Replica(cluster.Replica):
    """Is destroyed by the test: Ray awaits ``__del__``, which Python does not."""

    def __del__(self) -> None:  # type: ignore[override]
        pass


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    stand_in = Ray()
    modules: dict[str, dict[str, Any]] = {
        "ray": {},
        "ray.serve": {"get_replica_context": lambda: SimpleNamespace(replica_id=OWN)},
        "ray.serve._private": {},
        "ray.serve._private.long_poll": {
            "LongPollClient": stand_in.listen,
            "LongPollNamespace": SimpleNamespace(DEPLOYMENT_TARGETS="targets"),
        },
        "ray.serve.context": {"_get_global_client": lambda: SimpleNamespace(_controller=None)},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    # What a process has one of is left as the tests have it.
    monkeypatch.setattr(cluster.logs, "configure", lambda **_settings: None)
    monkeypatch.setattr(app, "tune_process", lambda _settings: None)
    monkeypatch.setattr(cluster, "freeze_garbage", lambda: None)
    return stand_in


@asynccontextmanager
async def started(home: Path) -> AsyncIterator[Replica]:
    loaded = load_settings(
        {
            "engine": "passthrough",
            "max_sessions": 2,
            "drain_s": 0,
            "voices_dir": ROOT / "wavs" / "references",
        },
        home=home,
    )
    replica = Replica.__new__(Replica)
    await replica.__init__(loaded.settings)  # type: ignore[misc]
    try:
        yield replica
    finally:
        await cluster.Replica.__del__(replica)


@pytest.mark.usefixtures("ray")
def test_a_replica_is_replaced_when_its_engine_has_failed_and_not_before(tmp_path: Path) -> None:
    async def body() -> None:
        async with started(tmp_path) as replica:
            healthy: tuple[ServiceState, ...] = ("ready", "draining")
            for state in healthy:
                replica._service.enter(state)
                replica.check_health()
            replica._service.enter("failed")
            with pytest.raises(RuntimeError, match="failed"):
                replica.check_health()

    asyncio.run(body())


def test_a_replica_drains_when_no_session_is_routed_to_it_any_more(
    tmp_path: Path, ray: Ray
) -> None:
    async def body() -> None:
        async with started(tmp_path) as replica:
            other = SimpleNamespace(deployment_id="fast-vc", unique_id="other")
            ray.route_to(other)
            ray.route_to(other, OWN)
            assert replica._service.state == "ready", "it was not in the list before"
            ray.route_to(other)
            await until_async(lambda: replica._service.state == "draining")

    asyncio.run(body())


@pytest.mark.parametrize(
    ("device", "asked", "gpus", "inside"),
    [
        ("cpu", None, 0.0, "cpu"),
        ("cuda", None, 1.0, "cuda:0"),
        ("cuda:2,cuda:3", None, 2.0, "cuda:0,cuda:1"),
        ("cuda:1", 0.5, 0.5, "cuda:0"),
    ],
)
def test_a_replica_reserves_the_gpus_it_names_and_counts_them_from_0(
    device: str, asked: float | None, gpus: float, inside: str
) -> None:
    reserved, settings = cluster.on_own_gpus(Settings(device=device), asked)
    assert (reserved, settings.device) == (gpus, inside)
