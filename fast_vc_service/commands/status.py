"""What ``fast-vc status`` tells: info files, processes and the service's own answer, together."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fast_vc_service.errors import ServiceError
from fast_vc_service.process.address import page_url
from fast_vc_service.process.service_info import (
    FoundServices,
    ServiceInfo,
    find_services,
    remove_stale,
)

READY = 0
NOT_RUNNING = 3
NOT_READY = 4
FAILED = 5

UNRESPONSIVE = "unresponsive"


def look(folder: Path, port: int | None) -> FoundServices:
    """Find the services (of one port, or all) and remove the info files of dead ones.

    Raises:
        ServiceError: There are none, as far as this user may look.
    """
    found = find_services(folder, port)
    if found.hidden and not found.running:
        raise hidden_services(found)
    for stale in found.stale:
        remove_stale(stale)
    return found


def hidden_services(found: FoundServices) -> ServiceError:
    """Return the error for info files that only another user may read."""
    return ServiceError(
        f"{found.hidden[0]} may not be read by this user: a service of another one may run here; "
        "ask as that user"
    )


def describe(info: ServiceInfo) -> dict[str, Any]:
    """Return all there is to say about a running service; asks it for its live sessions."""
    # HTTP and TLS, which `--help` needs not.
    from fast_vc_service.process.health import ask_health, process_use

    use = process_use(info)
    state: str = info.state
    sessions = None
    warnings: list[str] = []
    problem = None
    try:
        health = ask_health(info)
        state = health.get("state", state)
        sessions = health.get("sessions")
        warnings = health.get("warnings", [])
    except ServiceError as error:
        problem = str(error)
        if state == "ready":
            state = UNRESPONSIVE
    return {
        "running": True,
        **asdict(info),
        "state": state,
        "uptime_s": round(info.uptime_s, 1),
        "sessions": sessions,
        "warnings": warnings,
        "pids": use.pids,
        "memory_bytes": use.memory_bytes,
        "health_error": problem,
    }


def exit_status(described: list[dict[str, Any]]) -> int:
    """Return 0 when all are ready, 5 when one has failed, else 4 when one is not ready.

    3 without any (spec: fast-vc status).
    """
    states = {service["state"] for service in described}
    if not states:
        return NOT_RUNNING
    if "failed" in states:
        return FAILED
    return READY if states == {"ready"} else NOT_READY


def as_json(described: list[dict[str, Any]], found: FoundServices) -> dict[str, Any]:
    """Return the first service's object, with ``others`` and removed ``stale`` files beside it."""
    first = described[0] if described else {"running": False, "state": "stopped"}
    stale = [{"file": str(stale.path), "reason": stale.reason} for stale in found.stale]
    return {**first, "others": described[1:], "stale": stale}


def as_text(service: dict[str, Any]) -> str:
    """Return the lines a person reads."""
    sessions = service["sessions"]
    if sessions:
        told = f"{sessions.get('live')} live, {sessions.get('capacity')} fit"
    else:
        told = f"unknown ({service['health_error'] or 'the service did not tell'})"
    rows = {
        "state": service["state"],
        "page": page_url(service["url"]),
        "address": f"{service['host']} port {service['port']}, {service['url']}",
        "profile": service["env_profile"] or service["config_path"],
        "engine": service["engine"],
        "uptime": _duration(service["uptime_s"]),
        "sessions": told,
        "process": f"{', '.join(map(str, service['pids']))} "
        f"({service['memory_bytes'] / 2**20:.0f} MiB)",
        "log": service["log_path"],
    }
    lines = [f"  {name:<9} {value}" for name, value in rows.items()]
    lines += [f"  {'warning':<9} {warning}" for warning in service["warnings"]]
    return "\n".join(["fast-vc-service is running", *lines])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    shown = [f"{value} {unit}" for value, unit in parts if value]
    return " ".join(shown[:2]) or "0 s"
