"""``fast-vc`` with a stand-in for the application: it answers /health, drains and ends.

It stays in a phase (``import``, ``warm-up``, ``drain``) for as long as the working directory holds
a file of that name.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import types
from pathlib import Path
from typing import Any

from fast_vc_service.cli import main
from waiting import until


def over(phase: str) -> bool:
    """Whether nothing keeps the stand-in in ``phase`` any more."""
    return not Path(phase).exists()


def serve(settings: Any, info: Any, sock: socket.socket, **_local: Any) -> int:
    stopping: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: stopping.append(number))
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    state = "starting"
    sock.settimeout(0.05)
    while True:
        if state == "starting" and over("warm-up"):
            state = "ready"
            info.set_state(state)
        if stopping and state != "draining":
            state = "draining"
            info.set_state(state)
        if (state == "draining" and over("drain")) or len(stopping) > 1:
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
            # Importing torch takes seconds, in which a service can be stopped as well.
            until(lambda: over("import"))
            return {"serve": serve}[name]

    import fast_vc_service

    stand_in = StandIn("fast_vc_service.app")
    sys.modules["fast_vc_service.app"] = stand_in
    fast_vc_service.app = stand_in  # type: ignore[attr-defined]
    main()
