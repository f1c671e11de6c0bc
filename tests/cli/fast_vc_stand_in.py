"""``fast-vc`` with a stand-in for the application: it answers /health, drains and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import types
from typing import Any

from fast_vc_service.cli import main

WARM_UP_S = float(os.environ.pop("STAND_IN_WARM_UP_S", "0"))
DRAIN_S = float(os.environ.pop("STAND_IN_DRAIN_S", "0"))
IMPORT_S = float(os.environ.pop("STAND_IN_IMPORT_S", "0"))


def serve(settings: Any, info: Any, sock: socket.socket) -> int:
    stopping: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: stopping.append(number))
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    state, since = "starting", time.monotonic()
    sock.settimeout(0.05)
    while True:
        now = time.monotonic()
        if state == "starting" and now - since >= WARM_UP_S:
            state = "ready"
            info.set_state(state)
        if stopping and state != "draining":
            state, since = "draining", now
            info.set_state(state)
        if (state == "draining" and now - since >= DRAIN_S) or len(stopping) > 1:
            return 0
        try:
            connection, _ = sock.accept()
        except TimeoutError:
            continue
        with connection:
            connection.recv(65536)
            body = json.dumps({"state": state, "sessions": {"live": 2, "capacity": 7}})
            reply = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            connection.sendall(reply.encode())


if __name__ == "__main__":

    class StandIn(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            # As long as importing torch takes, in which a service can be stopped as well.
            time.sleep(IMPORT_S)
            return {"serve": serve}[name]

    import fast_vc_service

    stand_in = StandIn("fast_vc_service.app")
    sys.modules["fast_vc_service.app"] = stand_in
    fast_vc_service.app = stand_in  # type: ignore[attr-defined]
    main()
