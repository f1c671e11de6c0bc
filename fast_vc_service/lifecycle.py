"""What of a running service is visible from outside: its port, its info file, its process.

Imports neither torch nor the settings, so that ``status`` and ``stop`` answer at once and work
when the settings are broken.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import psutil

from fast_vc_service.errors import ServiceError

ServiceState = Literal["starting", "ready", "draining"]

INFO_PATTERN = "fast_vc_service_port_*.json"
CREATE_TIME_TOLERANCE_S = 1.0
"""The system derives a process's creation time from a boot time that clock corrections move."""

STOP_MARGIN_S = 5.0
KILL_AFTER_S = 5.0
HEALTH_TIMEOUT_S = 2.0
BACKLOG = 1024

_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
_USER_TIMEOUT_MS = 30_000
_OUR_NAMES = ("fast-vc", "fast_vc")


@dataclass(frozen=True)
class ServiceInfo:
    """What a running service tells about itself (spec: Service info).

    Attributes:
        master_pid: Its process.
        create_time: When that process began, seconds since the epoch; tells re-used pids apart.
        host: Address it listens on.
        port: TCP port it listens on.
        start_time: When it began to serve, seconds since the epoch.
        env_profile: Its profile, or None when a file replaced it.
        config_path: That file.
        state: ``starting`` until warm, ``draining`` once it was told to stop.
        url: Where clients connect.
        engine: Name of its engine.
        drain_s: Seconds that sessions get when it stops.
        log_path: Its log file.
        outputs_dir: Where its recordings go.
    """

    master_pid: int
    create_time: float
    host: str
    port: int
    start_time: float
    env_profile: str | None
    config_path: str | None
    state: ServiceState
    url: str
    engine: str
    drain_s: float
    log_path: str
    outputs_dir: str

    @property
    def uptime_s(self) -> float:
        """Seconds since it began to serve."""
        return max(0.0, time.time() - self.start_time)


class ServiceInfoFile:
    """The info file of this process: written when the port is bound, removed at exit.

    Args:
        folder: Where info files go; made when missing.
        info: First content.
    """

    def __init__(self, folder: Path, info: ServiceInfo) -> None:
        self.path = info_path(folder, info.port)
        self.info = info

    def write(self) -> None:
        """Write the file; a reader sees the old content or the new one, never half of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".service_info_", dir=self.path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(self.info), file, indent=2)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def set_state(self, state: ServiceState) -> None:
        """Tell the world that the service has reached ``state``."""
        self.info = replace(self.info, state=state)
        self.write()

    def remove(self) -> None:
        """Remove the file, unless it is another process's by now."""
        found = _read(self.path)
        if found is None or found.master_pid == self.info.master_pid:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class StaleInfo:
    """An info file whose process is gone, and how that shows."""

    path: Path
    reason: str


@dataclass(frozen=True)
class FoundServices:
    """What the info files say.

    Attributes:
        running: Services whose process lives, by port.
        stale: Info files whose process is gone.
    """

    running: list[ServiceInfo]
    stale: list[StaleInfo]


def info_path(folder: Path, port: int) -> Path:
    """Return the info file of the service on ``port``."""
    return folder / f"fast_vc_service_port_{port}.json"


def find_services(folder: Path, port: int | None = None) -> FoundServices:
    """Read the info files under ``folder`` (of one port, or all) and check their processes."""
    paths = [info_path(folder, port)] if port is not None else sorted(folder.glob(INFO_PATTERN))
    running: list[ServiceInfo] = []
    stale: list[StaleInfo] = []
    for path in paths:
        if not path.is_file():
            continue
        info = _read(path)
        if info is None:
            stale.append(StaleInfo(path, "it cannot be read"))
        elif (reason := why_not_ours(info)) is not None:
            stale.append(StaleInfo(path, reason))
        else:
            running.append(info)
    return FoundServices(sorted(running, key=lambda info: info.port), stale)


def remove_stale(stale: StaleInfo) -> None:
    """Remove a stale info file, unless a new service has written it meanwhile."""
    info = _read(stale.path)
    if info is None or why_not_ours(info) is not None:
        stale.path.unlink(missing_ok=True)


def why_not_ours(info: ServiceInfo) -> str | None:
    """Return why the process of ``info`` is not that service any more; None when it is."""
    try:
        process = psutil.Process(info.master_pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return f"process {info.master_pid} has ended"
        if abs(process.create_time() - info.create_time) > CREATE_TIME_TOLERANCE_S:
            return f"process {info.master_pid} is a newer one that got the same number"
        command = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return f"process {info.master_pid} has ended"
    except psutil.AccessDenied:
        return None
    if not any(name in command for name in _OUR_NAMES):
        return f"process {info.master_pid} is another program"
    return None


def this_process() -> tuple[int, float]:
    """Return (pid, creation time) of this process."""
    process = psutil.Process()
    return process.pid, process.create_time()


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


def allow_interrupt() -> None:
    """Undo the ignoring of SIGINT that a script's ``nohup ... &`` hands down.

    Without this ``fast-vc stop`` could not stop a service started so.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def bind_socket(host: str, port: int) -> socket.socket:
    """Bind and listen on ``host``:``port``, so that nobody else can from here on.

    Connections inherit keepalive (15 s + 3 x 5 s) and a user time-out of 30 s: half-open peers
    are found by TCP (spec: Behaviour both share).

    Raises:
        ServiceError: The address is unknown, taken or not permitted.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ServiceError(
            f"host: expected an address of this machine, got '{host}' ({error.strerror})"
        ) from error
    # "localhost" can be both; IPv4 is what clients without IPv6 reach.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (*_KEEPALIVE, ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MS)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ServiceError(_bind_problem(host, port, error)) from error
    sock.setblocking(False)
    return sock


def is_loopback(host: str) -> bool:
    """True when only programs on this machine reach ``host``."""
    return host == "localhost" or host.startswith("127.") or host == "::1"


def reachable_host(host: str) -> str:
    """Return the address under which this machine reaches a service that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def service_url(host: str, port: int, *, tls: bool) -> str:
    """Return the WebSocket URL of a service that listens on ``host``:``port``."""
    shown = reachable_host(host)
    shown = f"[{shown}]" if ":" in shown else shown
    return f"{'wss' if tls else 'ws'}://{shown}:{port}/ws"


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


def stop_service(
    info: ServiceInfo,
    *,
    force: bool = False,
    waiting: Callable[[float], None] = lambda _seconds: None,
) -> list[int]:
    """Stop a service whose process has been verified, and wait for its end.

    Without ``force``: SIGINT, then ``drain_s`` + 5 s of patience. With it: SIGTERM twice (drain,
    then at once), SIGKILL after 5 s.

    Args:
        info: The service.
        force: Do not wait for sessions.
        waiting: Called about five times a second with the seconds waited.

    Returns:
        The pids that are still alive; empty when it has stopped.

    Raises:
        ServiceError: The process may not be signalled.
    """
    try:
        master = psutil.Process(info.master_pid)
        processes = [master, *master.children(recursive=True)]
        if not force:
            master.send_signal(signal.SIGINT)
            return _wait(processes, info.drain_s + STOP_MARGIN_S, waiting)
        for _ in range(2):
            master.send_signal(signal.SIGTERM)
            if not _wait([master], 0.2, waiting):
                break
        if left := _wait(processes, KILL_AFTER_S, waiting):
            for process in processes:
                if process.pid in left:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
            return _wait(processes, KILL_AFTER_S, waiting)
    except psutil.NoSuchProcess:
        return []
    except psutil.AccessDenied as error:
        raise ServiceError(
            f"process {info.master_pid} belongs to another user; stop it as that user"
        ) from error
    return []


def _wait(
    processes: list[psutil.Process], seconds: float, waiting: Callable[[float], None]
) -> list[int]:
    started = time.monotonic()
    while True:
        alive = [process.pid for process in processes if _alive(process)]
        waited = time.monotonic() - started
        if not alive or waited > seconds:
            return alive
        waiting(waited)
        time.sleep(min(0.2, seconds))


def _alive(process: psutil.Process) -> bool:
    try:
        # is_running() compares creation times, so a re-used pid is not ours.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _read(path: Path) -> ServiceInfo | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        info = ServiceInfo(**{field.name: content[field.name] for field in fields(ServiceInfo)})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    numbers = (info.master_pid, info.create_time, info.port, info.start_time, info.drain_s)
    if all(isinstance(number, int | float) for number in numbers) and info.master_pid > 0:
        return info
    return None


def _bind_problem(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        owner = _port_owner(port)
        return (
            f"port {port} on {host} is taken{f' by {owner}' if owner else ''}; "
            "choose another with --port"
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"port {port} on {host} may not be used by this user; choose one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host: expected an address of this machine, got '{host}'"
    return f"cannot listen on {host}:{port}: {error.strerror}"


def _port_owner(port: int) -> str | None:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port:
                if connection.pid is None:
                    return None
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return None
