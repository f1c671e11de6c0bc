"""A service that is stopped and goes on: what its clients meet."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest
from service import RunningService
from websockets.sync.client import ClientConnection

from waiting import spend, until

LIMIT_S = 3.0


def asked(ws: ClientConnection) -> str:
    ws.send(json.dumps({"type": "config"}))
    return str(json.loads(ws.recv())["type"])


@pytest.mark.slow
def test_no_time_limit_counts_a_stop(launch_service: Callable[..., RunningService]) -> None:
    service = launch_service(idle_timeout_s=LIMIT_S, handshake_timeout_s=LIMIT_S, max_session_s=60)
    service.wait_until("ready")
    with service.connect() as live, service.connect() as silent:
        assert asked(live) == "ready"
        live.send(bytes(640))
        service.process.send_signal(signal.SIGSTOP)
        spend(2 * LIMIT_S)
        service.process.send_signal(signal.SIGCONT)
        until(lambda: "stood still for" in service.output())
        assert asked(silent) == "ready"
        live.send(bytes(640))
        live.send(json.dumps({"type": "end"}))
        heard = b""
        while isinstance(message := live.recv(), bytes):
            heard += message
        while json.loads(message)["type"] != "complete":
            message = live.recv()
        assert json.loads(message)["stats"]["received_ms"] == 40
