"""A real service process on a real socket, for tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from waiting import until

ROOT = Path(__file__).parents[2]


@dataclass
class RunningService:
    process: subprocess.Popen[bytes]
    port: int
    home: Path

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """GET ``path``; returns the status and the JSON body (or text)."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                status, body = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read().decode()
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body

    def connect(self, path: str = "/ws", **more: Any) -> ClientConnection:
        return connect(
            f"ws://127.0.0.1:{self.port}{path}",
            compression=None,
            ping_interval=None,
            max_size=None,
            **more,
        )

    def wait_until(self, state: str, seconds: float = 300.0) -> None:
        def reached() -> bool:
            if self.process.poll() is not None:
                return True
            try:
                return bool(self.get("/health")[1].get("state") == state)
            except (OSError, AttributeError):
                return False

        try:
            until(reached, within_s=seconds)
            assert self.process.poll() is None, "it has ended"
        except AssertionError as error:
            raise AssertionError(f"not {state} in {seconds} s:\n{self.output()}") from error

    def output(self) -> str:
        return (self.home / "stderr.txt").read_text(errors="replace")[-4000:]

    def stop(self, sig: signal.Signals = signal.SIGINT, seconds: float = 40.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def environment(home: Path, **settings: object) -> dict[str, str]:
    """The environment of a service whose files stay under ``home``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FAST_VC_")}
    kept.pop("env_profile", None)
    return kept | {
        "FAST_VC_HOME": str(home),
        "FAST_VC_VOICES_DIR": str(ROOT / "wavs" / "references"),
        "FAST_VC_MODELS_DIR": str(ROOT / "checkpoints"),
        "PYTHONUNBUFFERED": "1",
        # The tree that the tests are of, wherever the package is installed from.
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        **{f"FAST_VC_{key.upper()}": str(value) for key, value in settings.items()},
    }


def launch(
    home: Path,
    *flags: str,
    port: int | None = None,
    program: Sequence[str] = ("-m", "fast_vc_service"),
    **settings: object,
) -> RunningService:
    """Start ``fast-vc serve`` (by default) and return without waiting."""
    home.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    with (home / "stderr.txt").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *program, "serve", "--port", str(port), *flags],
            cwd=home,
            env=environment(home, **settings),
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    return RunningService(process, port, home)
