"""What of a running service is visible from outside: its info file and its process.

Imports neither torch nor the settings, so that ``status`` and ``stop`` answer at once and work
when the settings are broken.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import psutil

from fast_vc_service.process.lock import claim, holder
from fast_vc_service.process.running import RunningProcess
from fast_vc_service.protocol.service_state import ServiceState

INFO_PATTERN = "fast_vc_service_port_*.json"
_MOST_BYTES = 1 << 16
_ATTEMPTS = 20


@dataclass(frozen=True)
class ServiceInfo:
    """What a running service tells about itself (spec: Service info).

    Attributes:
        master_pid: Its process.
        create_time: When that process began, seconds since the epoch.
        host: Address it listens on.
        port: TCP port it listens on.
        start_time: When it began to serve, seconds since the epoch.
        env_profile: Its profile, or None when a file replaced it.
        config_path: That file.
        state: ``starting`` until warm, ``draining`` once it was told to stop, ``failed`` when
            only a new process helps.
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

    The process holds a lock on it. That, and no time of any clock, tells others that it lives.

    Args:
        folder: Where info files go; made when missing.
        info: First content.
    """

    def __init__(self, folder: Path, info: ServiceInfo) -> None:
        self.path = info_path(folder, info.port)
        self.info = info
        self._handle: int | None = None

    def write(self) -> None:
        """Write the file; a reader sees the old content or the new one, never half of it.

        Raises:
            OSError: The file cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".service_info_", dir=self.path.parent)
        try:
            content = memoryview(json.dumps(asdict(self.info), indent=2).encode())
            while content:
                content = content[os.write(handle, content) :]
            # Held before it can be seen.
            claim(handle)
            Path(name).replace(self.path)
        except BaseException:
            os.close(handle)
            with contextlib.suppress(OSError):
                Path(name).unlink(missing_ok=True)
            raise
        self._let_go()
        self._handle = handle

    def set_state(self, state: ServiceState) -> None:
        """Tell the world that the service has reached ``state``.

        Raises:
            OSError: The file cannot be written.
        """
        self.info = replace(self.info, state=state)
        self.write()

    def remove(self) -> None:
        """Remove the file, unless it is another process's by now, or cannot be removed."""
        if self._handle is None:
            return
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._handle), self.path.lstat()):
                self.path.unlink()
        self._let_go()

    def _let_go(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


@dataclass(frozen=True)
class StaleInfo:
    """An info file that is no running service's, and how that shows.

    Attributes:
        path: The file.
        reason: One clause.
        held: Whether some other process holds it; then it is left alone.
    """

    path: Path
    reason: str
    held: bool = False


@dataclass(frozen=True)
class FoundServices:
    """What the info files say.

    Attributes:
        running: Services whose process lives, by port.
        stale: Info files whose process is gone.
        hidden: What this user may not read: services of another one may be told of there.
    """

    running: list[ServiceInfo]
    stale: list[StaleInfo]
    hidden: list[Path] = field(default_factory=list)


def info_path(folder: Path, port: int) -> Path:
    """Return the info file of the service on ``port``."""
    return folder / f"fast_vc_service_port_{port}.json"


def find_services(folder: Path, port: int | None = None) -> FoundServices:
    """Read the info files under ``folder`` (of one port, or all) and check their processes."""
    running: list[ServiceInfo] = []
    stale: list[StaleInfo] = []
    hidden: list[Path] = []
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        paths = []
    except OSError:
        paths, hidden = [], [folder]
    wanted = INFO_PATTERN if port is None else info_path(folder, port).name
    for path in (path for path in paths if fnmatch.fnmatchcase(path.name, wanted)):
        try:
            content, held_by = _read(path)
        except FileNotFoundError:
            continue
        except PermissionError:
            hidden.append(path)
            continue
        except OSError as error:
            stale.append(StaleInfo(path, f"it cannot be read ({error.strerror})"))
            continue
        info = _parsed(content)
        held = held_by is not None
        if info is None:
            stale.append(StaleInfo(path, "it cannot be read", held))
        elif held_by != info.master_pid:
            stale.append(StaleInfo(path, _why_not(info.master_pid, held_by), held))
        else:
            running.append(info)
    return FoundServices(sorted(running, key=lambda info: info.port), stale, hidden)


def remove_stale(stale: StaleInfo) -> None:
    """Remove a stale info file, unless some process holds it, a new service's perhaps."""
    with contextlib.suppress(OSError):
        if _read(stale.path)[1] is None:
            stale.path.unlink(missing_ok=True)


def _why_not(pid: int, held_by: int | None) -> str:
    if held_by is None:
        ended = RunningProcess.of(pid) is None
        return f"process {pid} {'has ended' if ended else 'is not that service any more'}"
    if held_by == 0:
        return f"process {pid} is one of another container or machine"
    return f"it names process {pid}, but process {held_by} holds it"


def this_process() -> tuple[int, float]:
    """Return (pid, creation time) of this process."""
    process = psutil.Process()
    return process.pid, process.create_time()


def _read(path: Path) -> tuple[bytes, int | None]:
    """Return what a file holds, and which process holds it; links are not followed.

    Raises:
        OSError: It cannot be read.
    """
    for _attempt in range(_ATTEMPTS):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            content, held_by = os.read(handle, _MOST_BYTES), holder(handle)
            # The service may have replaced it meanwhile: then the new one is what counts.
            if held_by is not None or os.path.samestat(os.fstat(handle), path.lstat()):
                break
        finally:
            os.close(handle)
    return content, held_by


def _parsed(content: bytes) -> ServiceInfo | None:
    try:
        told = json.loads(content)
        info = ServiceInfo(**{each.name: told[each.name] for each in fields(ServiceInfo)})
    except (ValueError, KeyError, TypeError):
        return None
    numbers = (info.master_pid, info.create_time, info.port, info.start_time, info.drain_s)
    if all(isinstance(number, int | float) for number in numbers) and info.master_pid > 0:
        return info
    return None
