"""The sockets of a service with TLS, whose handshakes come before anything else is known."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Callable

from service import RunningService
from websockets.sync.client import connect

from benchmarks.attacks import Attack
from waiting import until


def test_handshakes_are_counted_and_sessions_go_on(
    launch_service: Callable[..., RunningService],
) -> None:
    service = launch_service(tls_self_signed="true", max_connections=20)
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE

    def health() -> int:
        raw = socket.create_connection(("127.0.0.1", service.port), timeout=30)
        with trusting.wrap_socket(raw) as secure:
            secure.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return int(secure.recv(4096).split()[1])

    def is_ready() -> bool:
        assert service.process.poll() is None, service.output()
        with contextlib.suppress(OSError):
            return health() == 200
        return False

    until(is_ready)
    with contextlib.ExitStack() as stack:
        # They never say hello: the handshake has a place of its own from accept on.
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
        asyncio.run(Attack(service.port, "TLS handshakes", "socket", 10, "no-key", 1.0).attack())
        assert health() == 200
        with connect(
            f"wss://localhost:{service.port}/ws", ssl=trusting, compression=None
        ) as session:
            session.send(json.dumps({"type": "config", "realtime": False}))
            assert json.loads(session.recv())["type"] == "ready"
            for _ in range(30):
                session.send(bytes(60_000))
            session.send(json.dumps({"type": "end"}))
            received = 0
            while isinstance(said := session.recv(), bytes):
                received += len(said)
            assert json.loads(said)["type"] == "complete"
            assert received == 30 * 60_000
