"""What a running service says of itself, and what it uses."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any

import psutil

from fast_vc_service.errors import ServiceError
from fast_vc_service.process.address import reachable_host
from fast_vc_service.process.service_info import ServiceInfo

HEALTH_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class ProcessUse:
    """The processes of a service and the memory they hold together, in bytes."""

    pids: list[int]
    memory_bytes: int


def process_use(info: ServiceInfo) -> ProcessUse:
    """Measure the service's process and its children."""
    pids, memory = [], 0
    with contextlib.suppress(psutil.Error):
        master = psutil.Process(info.master_pid)
        for process in (master, *master.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                memory += process.memory_info().rss
                pids.append(process.pid)
    return ProcessUse(pids, memory)


def ask_health(info: ServiceInfo, timeout_s: float = HEALTH_TIMEOUT_S) -> dict[str, Any]:
    """Return what the service answers to ``GET /health``.

    Raises:
        ServiceError: It did not answer in time or not in JSON.
    """
    host = reachable_host(info.host)
    connection: http.client.HTTPConnection
    if info.url.startswith("wss"):
        # The process behind the port has been identified; nothing secret is sent.
        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(
            host, info.port, timeout=timeout_s, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, info.port, timeout=timeout_s)
    try:
        # A loopback Host is always allowed, whatever address the service listens on.
        connection.request("GET", "/health", headers={"Host": f"localhost:{info.port}"})
        health = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ServiceError(f"no answer from {host}:{info.port}/health: {error}") from error
    finally:
        connection.close()
    if not isinstance(health, dict):
        raise ServiceError(f"expected a JSON object from {host}:{info.port}/health")
    return health
