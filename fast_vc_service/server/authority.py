"""The host and port that a request asks for."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

DEFAULT_PORTS = {"http": 80, "https": 443}

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?", re.ASCII)
_MAX_HOST_CHARS = 253


@dataclass(frozen=True, slots=True)
class Authority:
    """A host, in lower case and without trailing dot or brackets, and the port if one is named."""

    host: str
    port: int | None

    def port_for(self, scheme: str) -> int | None:
        """Return the port, or the default one of ``scheme``."""
        return self.port if self.port is not None else DEFAULT_PORTS.get(scheme)


def parse_authority(text: str) -> Authority | None:
    """Read ``host``, ``host:port`` or ``[v6]:port``; None when it is none of them."""
    match = _AUTHORITY.fullmatch(text.strip().lower())
    if match is None:
        return None
    host, port = match[1], int(match[2]) if match[2] else None
    if port is not None and port > 65_535:
        return None
    if host.startswith("["):
        try:
            host = str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            return None
    else:
        host = host.removesuffix(".")
    return Authority(host, port) if 0 < len(host) <= _MAX_HOST_CHARS else None
