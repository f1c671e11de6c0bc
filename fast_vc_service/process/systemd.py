"""What the service tells systemd (``Type=notify``, ``WatchdogSec=``); without it, nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from loguru import logger


class ServiceManager:
    """The manager that has started this process.

    Args:
        environment: Where it has said how it is told, and how often.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A name in the abstract name space begins with a zero byte.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        own = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        told = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(told) / 1e6 if address and own and told.isdecimal() else 0.0
        """Seconds after which the process is killed unless :meth:`tell` said that it is alive."""

    def tell(self, state: str) -> None:
        """Tell ``state``, as of ``sd_notify(3)``; what cannot be told stops nothing."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
                told.setblocking(False)
                told.sendto(state.encode(), self._address)
        except OSError as error:
            logger.warning("systemd cannot be told {}: {}", state, error)
