"""The services that recordings are made with: real processes, whose results depend on no CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.compatibility.same_results import ENVIRONMENT
from tests.e2e.service import RunningService, environment, free_port

ALICE, BOB, CAROL = "alice's own key", "the key of bob", "carol may do everything"
KEYS = [
    {"name": "alice", "key": ALICE},
    {"name": "bob", "key": BOB, "max_sessions": 1},
    {"name": "carol", "key": CAROL, "admin": True},
]

OPEN: dict[str, object] = {
    "engine": "passthrough",
    "max_sessions": 4,
    "late_ms": 20_000,
    "file_workers": 8,
}
"""Without keys; its answers are the input."""

STRICT: dict[str, object] = {
    **OPEN,
    "api_keys": json.dumps(KEYS),
    "auth_failure_delay_ms": 10,
    "max_sessions": 2,
    "handshake_timeout_s": 0.5,
    "idle_timeout_s": 1.0,
    "max_session_s": 1.5,
    "drain_s": 1,
}
"""With keys and short limits."""

NANO: dict[str, object] = {"engine": "nano", "max_sessions": 4, "late_ms": 20_000}
"""What converts by default."""


@contextmanager
def running(home: Path, **settings: object) -> Iterator[RunningService]:
    """Run a service with its files under ``home`` until the block ends."""
    service = start(home, settings)
    try:
        service.wait_until("ready", seconds=300)
        yield service
    finally:
        service.stop(seconds=120)


def start(home: Path, settings: dict[str, Any]) -> RunningService:
    """Start ``fast-vc serve`` with its files under ``home``."""
    return serve(home, environment(home, **settings) | ENVIRONMENT)


def serve(home: Path, variables: dict[str, str]) -> RunningService:
    """Start ``fast-vc serve`` in an environment."""
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with (home / "stderr.txt").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fast_vc_service", "serve", "--port", str(port)],
            cwd=home,
            env=variables,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    return RunningService(process, port, home)
