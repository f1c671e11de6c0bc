"""What the health, version and measurement routes say, for ``/openapi.json`` as well."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fast_vc_service.protocol.service_state import ServiceState
from fast_vc_service.sessions.observer import Stage


class Alive(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "alive"}]})

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether sessions are admitted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"state": "ready"}]})

    state: ServiceState


class Sessions(BaseModel):
    """How many sessions there are and how many fit."""

    live: int
    capacity: int


class Health(BaseModel):
    """All a monitor needs at a glance."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "healthy",
                    "state": "ready",
                    "engine": "world",
                    "sessions": {"live": 3, "capacity": 24},
                    "warnings": [],
                    "uptime_s": 3600.0,
                    "version": "0.3.0",
                }
            ]
        }
    )

    status: Literal["healthy", "starting", "draining", "failed"]
    state: ServiceState
    engine: str
    sessions: Sessions
    warnings: list[str] = Field(
        description="What whoever operates the service should know: it is too slow for live "
        "speech, or carries far less than it did. Empty when all is well."
    )
    uptime_s: float
    version: str


class Version(BaseModel):
    """What exactly runs; ``torch`` is null when no engine has loaded it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"version": "0.3.0", "python": "3.11.9", "torch": "2.13.0"}]
        }
    )

    version: str
    python: str
    torch: str | None


class StageTimes(BaseModel):
    """Durations of one stage in ms; null before anything was measured."""

    count: int
    mean: float | None
    median: float | None
    min: float | None
    max: float | None
    std: float | None
    p95: float | None
    p99: float | None


_STAGE_EXAMPLE: dict[str, Any] = {
    "count": 1500,
    "mean": 41.0,
    "median": 40.0,
    "min": 31.0,
    "max": 66.0,
    "std": 4.2,
    "p95": 55.0,
    "p99": 60.0,
}


class Report(BaseModel):
    """Where a block's time goes, since the start of the service."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"uptime_s": 3600.0, "stages_ms": {"total": _STAGE_EXAMPLE}}]
        }
    )

    uptime_s: float
    stages_ms: dict[Stage, StageTimes] = Field(
        description="By stage; `total` is receipt of a block's last byte to the hand-over of its "
        "output."
    )
