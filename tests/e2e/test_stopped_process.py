"""A service that is stopped and goes on: what its clients meet."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable

import pytest
from service import RunningService
from websockets.sync.client import ClientConnection

from benchmarks.attacks import anyones_certificate
from fast_vc_service.server.http.uploads import STALLED_S
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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_neither_an_upload_nor_a_handshake_is_given_up_after_a_stop(
    launch_service: Callable[..., RunningService],
) -> None:
    service = launch_service(tls_self_signed="true")
    until(lambda: "ready: clients connect" in service.output())
    trusting = anyones_certificate()

    def connected() -> socket.socket:
        return socket.create_connection(("127.0.0.1", service.port), timeout=60)

    file = b"RIFF, or so it says"
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head + file + b"\r\n--x--\r\n"
    request = (
        "POST /convert HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with trusting.wrap_socket(connected()) as uploads:
        uploads.sendall(request + body[:70])
        until(lambda: list((service.home / "temp" / "uploads").glob("*/*/")))
        waits = connected()
        service.process.send_signal(signal.SIGSTOP)
        spend(STALLED_S + 3.0)
        service.process.send_signal(signal.SIGCONT)
        with trusting.wrap_socket(waits) as asks:
            asks.sendall(b"GET /health/live HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in asks.recv(1 << 16).splitlines()[0]
        uploads.sendall(body[70:])
        assert b" 415 " in uploads.recv(1 << 16).splitlines()[0], "it was read to its end"
