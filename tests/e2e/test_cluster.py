"""Two replicas on one machine: who gets which session, and what happens when one goes away."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import psutil
import pytest
from service import environment, free_port
from test_websocket import rest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.ray]

SILENCE = bytes(2 * 1600)
PATIENCE_S = 90.0


class Cluster:
    """The processes of a cluster, and what its driver tells."""

    def __init__(self, home: Path, folder: Path, **arguments: object) -> None:
        self._port = free_port()
        named = {name: str(value) for name, value in arguments.items()}
        self._log = (home / "cluster.txt").open("ab")
        self.driver = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("small_cluster.py")),
                str(self._port),
                str(folder),
                json.dumps({"engine": "passthrough", "late_ms": "20000"} | named),
            ],
            env=environment(home)
            | {
                "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "fast_vc_service.cluster:middlewares",
                "RAY_USAGE_STATS_ENABLED": "0",
            },
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self.driver.stdout is not None
        assert self.driver.stdout.readline() == "ready\n", Path(self._log.name).read_text()

    @property
    def replicas(self) -> list[psutil.Process]:
        """The processes of the replicas."""
        found = []
        for process in psutil.Process(self.driver.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[:1] and "ServeReplica" in process.cmdline()[0]:
                    found.append(process)
        return found

    def open(self, stack: contextlib.ExitStack) -> ClientConnection:
        ws = stack.enter_context(
            connect(
                f"ws://127.0.0.1:{self._port}/ws",
                compression=None,
                ping_interval=None,
                open_timeout=PATIENCE_S,
            )
        )
        ws.send(json.dumps({"type": "config", "sample_rate": 16000}))
        told = json.loads(ws.recv(timeout=PATIENCE_S))
        assert told["type"] == "ready", told
        return ws

    def stop(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.driver.communicate(timeout=30)
        self.driver.kill()
        self._log.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Start clusters of one's own; they are stopped at the end."""
    started: list[Cluster] = []
    # Ray's sockets lie in it, and the name of a socket may not be long.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:

        def start(**arguments: object) -> Cluster:
            started.append(Cluster(tmp_path, Path(folder), **arguments))
            started[-1].wait_until_ready()
            return started[-1]

        yield start
        for each in started:
            each.stop()


def echoes(ws: ClientConnection) -> bool:
    """Whether a tenth of a second goes through; all that is not audio is passed over."""
    ws.send(SILENCE)
    left = len(SILENCE) - 640
    while left > 0:
        message = ws.recv(timeout=PATIENCE_S)
        left -= len(message) if isinstance(message, bytes) else 0
    return True


def test_a_dead_replica_takes_its_own_sessions_with_it(cluster: Callable[..., Cluster]) -> None:
    service = cluster(max_sessions=2, min_replicas=2)
    victim, other = service.replicas
    with contextlib.ExitStack() as stack:
        # Two slots each: four sessions fit only if both replicas carry two.
        sessions = [service.open(stack) for _ in range(4)]
        assert all(echoes(ws) for ws in sessions)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        ended = []
        for ws in sessions:
            with contextlib.suppress(ConnectionClosedError):
                assert echoes(ws)
                continue
            ended.append(ws)
        assert [rest(ws) for ws in ended] == [([], [], 1012)] * 2
        assert other.is_running()
        again = [service.open(stack) for _ in ended]
        assert all(echoes(ws) for ws in {*again, *sessions} - {*ended})


def test_replicas_come_with_sessions_and_drain_when_they_go(
    cluster: Callable[..., Cluster],
) -> None:
    service = cluster(
        max_sessions=3, max_replicas=2, target_load=0.7, downscale_delay_s=0, drain_s=60
    )
    with contextlib.ExitStack() as stack:
        sessions = [service.open(stack) for _ in range(3)]
        # No slot is free: this one waits for the second replica, which the load has called.
        sessions.append(service.open(stack))
        assert len(service.replicas) == 2
        for ws in sessions[:2]:
            ws.close()
        # Two sessions are within the aim of one replica: the other is told to stop, and whoever is
        # on it hears so, goes on, and ends in its own time.
        told = first_told(sessions[2:])
        assert echoes(told)
        told.send(json.dumps({"type": "end"}))
        _, texts, code = rest(told)
        assert (texts[-1]["type"], code) == ("complete", 1000)
        until(lambda: len(service.replicas) == 1)
        (left,) = [ws for ws in sessions[2:] if ws is not told]
        assert echoes(left)


def first_told(sessions: list[ClientConnection]) -> ClientConnection:
    """The session that hears first that its replica is going away."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for ws in sessions:
            with contextlib.suppress(TimeoutError):
                message = ws.recv(timeout=0.1)
                if isinstance(message, str):
                    assert json.loads(message)["type"] == "going_away"
                    return ws
    raise AssertionError("nobody was told")


def test_a_full_cluster_says_when_to_try_again(cluster: Callable[..., Cluster]) -> None:
    service = cluster(max_sessions=1)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        holder = service.open(stack)
        calls = [pool.submit(service.open, stack) for _ in range(2)]
        done, waiting = wait(calls, return_when=FIRST_COMPLETED)
        with pytest.raises(InvalidStatus) as refused:
            done.pop().result()
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["Retry-After"]) > 0
        holder.close()
        assert echoes(waiting.pop().result())


def test_a_cluster_must_know_its_slots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    from fast_vc_service.cluster import app
    from fast_vc_service.errors import SettingsError

    with pytest.raises(SettingsError, match="max_sessions"):
        app({"engine": "passthrough"})
    with pytest.raises(SettingsError, match="min_replicas"):
        app({"engine": "passthrough", "max_sessions": "3", "min_replicas": "few"})
