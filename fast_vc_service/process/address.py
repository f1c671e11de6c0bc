"""Where a service listens: its socket, and the address that others reach it by."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket

import psutil

from fast_vc_service.errors import ServiceError

BACKLOG = 1024


_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


_USER_TIMEOUT_MS = 30_000


def bind_socket(host: str, port: int) -> socket.socket:
    """Bind and listen on ``host``:``port``, so that nobody else can from here on.

    Connections inherit keepalive (15 s + 3 x 5 s) and a user time-out of 30 s: half-open peers
    are found by TCP (spec: Behaviour both share).

    Raises:
        ServiceError: The address is unknown, taken or not permitted.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ServiceError(
            f"host: expected an address of this machine, got '{host}' ({error.strerror})"
        ) from error
    # "localhost" can be both; IPv4 is what clients without IPv6 reach.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (*_KEEPALIVE, ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MS)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ServiceError(_bind_problem(host, port, error)) from error
    sock.setblocking(False)
    return sock


def is_loopback(host: str) -> bool:
    """True when only programs on this machine reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reachable_host(host: str) -> str:
    """Return the address under which this machine reaches a service that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def service_url(host: str, port: int, *, tls: bool) -> str:
    """Return the WebSocket URL of a service that listens on ``host``:``port``."""
    shown = reachable_host(host)
    shown = f"[{shown}]" if ":" in shown else shown
    return f"{'wss' if tls else 'ws'}://{shown}:{port}/ws"


def page_url(url: str) -> str:
    """Return the address of the page of a service whose WebSocket URL is ``url``."""
    return url.replace("ws", "http", 1).removesuffix("ws")


def _bind_problem(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        owner = _port_owner(port)
        return (
            f"port {port} on {host} is taken{f' by {owner}' if owner else ''}; "
            "choose another with --port"
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"port {port} on {host} may not be used by this user; choose one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host: expected an address of this machine, got '{host}'"
    return f"cannot listen on {host}:{port}: {error.strerror}"


def _port_owner(port: int) -> str | None:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port:
                if connection.pid is None:
                    return None
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return None
