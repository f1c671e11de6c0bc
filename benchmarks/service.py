"""A real server process for a benchmark, in a home of its own."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import ROOT

DEFAULT_VOICE = ROOT / "wavs" / "references" / "ref-24k.wav"

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Server:
    """A server that accepts connections.

    Attributes:
        url: Its WebSocket address.
        pid: Its process.
    """

    url: str
    pid: int


@contextmanager
def running_service(
    engine: str, *, program: Sequence[str] = ("-m", "fast_vc_service"), **settings: object
) -> Iterator[Server]:
    """Run ``fast-vc serve --engine ENGINE`` until the block ends.

    Args:
        engine: Engine to serve with.
        program: What is run as ``fast-vc``, for Python.
        settings: Further settings, by name (``latency_ms=200``); None leaves one out.

    Raises:
        RuntimeError: The server did not become ready.
    """
    with tempfile.TemporaryDirectory(prefix="fast-vc-benchmark-") as home:
        # One voice only, made before the service is ready: others would be made during the load.
        voices = Path(home) / "references"
        voices.mkdir()
        shutil.copy(DEFAULT_VOICE, voices)
        environment = {
            "FAST_VC_HOME": home,
            "FAST_VC_VOICES_DIR": str(voices),
            "FAST_VC_LOG_LEVEL": "WARNING",
        }
        for name, value in settings.items():
            if value is not None:
                environment[f"FAST_VC_{name.upper()}"] = str(value)
        port = free_port()
        command = [sys.executable, *program, "serve"]
        command += ["--engine", engine, "--port", str(port)]
        tls = bool(settings.get("tls_self_signed"))
        with running(command, environment, port, "/health/ready", tls=tls) as pid:
            yield Server(f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/ws", pid)


@contextmanager
def running(
    command: Sequence[str],
    environment: Mapping[str, str],
    port: int,
    ready_path: str,
    *,
    tls: bool = False,
) -> Iterator[int]:
    """Run a server process until the block ends; yields its pid once ``ready_path`` answers 200.

    Args:
        command: Starts it.
        environment: Beside the present one.
        port: That it listens on.
        ready_path: Of HTTP.
        tls: Whether it speaks TLS.

    Raises:
        RuntimeError: It ended or stayed silent; the message holds the end of its output.
    """
    inherited = {name: value for name, value in os.environ.items() if "FAST_VC_" not in name}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**inherited, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            if not _answers(port, ready_path, process, tls=tls):
                log.seek(0)
                output = log.read()[-2000:].decode(errors="replace")
                raise RuntimeError(f"expected a server on port {port}, got:\n{output}")
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """Return a TCP port that is free at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _connection(port: int, *, tls: bool) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=context)


def _answers(port: int, path: str, process: subprocess.Popen[bytes], *, tls: bool) -> bool:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        connection = _connection(port, tls=tls)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == http.client.OK:
                return True
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    return False
