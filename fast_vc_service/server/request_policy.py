"""Who may connect at all: Host, Origin and the number of connections, before any route.

A web page can make a browser connect to a server on its user's own machine. Its Origin gives it
away, or, when a name of its own resolves to this machine, the Host it asks for does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from fast_vc_service.protocol.codes import EdgeCode
from fast_vc_service.server.auth import KeyRing, bearer
from fast_vc_service.server.authority import DEFAULT_PORTS, parse_authority
from fast_vc_service.server.refusal import Refusal, refuse
from fast_vc_service.server.sockets.addresses import is_loopback
from fast_vc_service.server.sockets.paced import PacedTransport

CONNECTIONS_RETRY_S = 5
"""What a client is told to wait when there are too many connections."""

_SHOWN_CHARS = 100


class HostPolicy:
    """Which hosts a request may ask for: loopback ones and those configured, on any port.

    Args:
        allowed: Host names or addresses, without port.

    Raises:
        ValueError: An entry is none.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = {self._read(entry) for entry in allowed}

    def allows(self, host: str | None) -> bool:
        """Judge the value of the Host header; None when it is missing."""
        authority = parse_authority(host) if host is not None else None
        if authority is None:
            return False
        return authority.host in self._allowed or is_loopback(authority.host)

    @staticmethod
    def _read(entry: str) -> str:
        authority = parse_authority(f"[{entry}]" if entry.count(":") > 1 else entry)
        if authority is None or authority.port is not None:
            raise ValueError(
                f"allowed_hosts: expected host names without scheme or port, got {entry!r}"
            )
        return authority.host


class OriginPolicy:
    """Which web pages may connect: those of the host they connect to and those configured.

    Args:
        allowed: Origins, as ``https://example.org`` or ``http://example.org:8080``.

    Raises:
        ValueError: An entry is none.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = set()
        for entry in allowed:
            origin = _parse_origin(entry)
            if origin is None:
                raise ValueError(
                    f"allowed_origins: expected origins like https://example.org, got {entry!r}"
                )
            self._allowed.add(origin)

    def allows(self, origin: str, host: str | None, *, secure: bool) -> bool:
        """Judge a request.

        Args:
            origin: Value of its Origin header.
            host: Value of its Host header.
            secure: Whether it came over TLS; then a page without TLS is not of the same origin.
                Without it a proxy may have ended TLS, so both schemes are.
        """
        parsed = _parse_origin(origin)
        if parsed is None:
            return False
        if parsed in self._allowed:
            return True
        scheme, page_host, page_port = parsed
        if secure and scheme != "https":
            return False
        authority = parse_authority(host) if host is not None else None
        if authority is None:
            return False
        return (authority.host, authority.port_for(scheme)) == (page_host, page_port)


class ConnectionLimits:
    """ASGI middleware that refuses HTTP requests and WebSocket upgrades before any route.

    A refusal is a plain HTTP response, also to an upgrade (403, or 503 with ``Retry-After``).
    The health routes and admins are outside the connection cap: a full service is not a dead one.

    Args:
        app: What comes after.
        allowed_hosts: See :class:`HostPolicy`.
        allowed_origins: See :class:`OriginPolicy`.
        max_connections: WebSocket connections and HTTP requests served at the same time, where
            sockets are not counted from ``accept`` on.
        keys: Who is an admin, and who has a key at all.
        on_refused: Called with the code of every refusal.

    Raises:
        ValueError: An allowed host or origin is none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
        max_connections: int = 1000,
        keys: KeyRing | None = None,
        on_refused: Callable[[str], None] = lambda _code: None,
    ) -> None:
        self._app = app
        self._hosts = HostPolicy(allowed_hosts)
        self._origins = OriginPolicy(allowed_origins)
        self._max_connections = max_connections
        self._keys = keys or KeyRing()
        self._on_refused = on_refused
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        refusal = self._judge(scope)
        if refusal is not None:
            self._on_refused(refusal.code)
            await refuse(refusal, scope, receive, send)
        elif _is_health(scope):
            await self._app(scope, receive, send)
        else:
            self._open += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._open -= 1

    def _judge(self, scope: Scope) -> Refusal | None:
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        # Two of a header are as good as none: servers and proxies differ in which one they take.
        host = hosts[0] if len(hosts) == 1 else None
        if not self._hosts.allows(host):
            return Refusal(
                403,
                EdgeCode.FORBIDDEN_HOST,
                "this service is not served under that host",
                {
                    "expected": "one Host header with a loopback host or one of allowed_hosts",
                    "got": ", ".join(hosts)[:_SHOWN_CHARS] or "no Host header",
                    "hint": "if clients are meant to use that host, add it to allowed_hosts",
                },
            )
        secure = scope["scheme"] in {"https", "wss"}
        if not all(self._origins.allows(origin, host, secure=secure) for origin in origins):
            return Refusal(
                403,
                EdgeCode.FORBIDDEN_ORIGIN,
                "pages of that origin may not connect",
                {
                    "expected": "an Origin that matches the Host, or one of allowed_origins",
                    "got": ", ".join(origins)[:_SHOWN_CHARS],
                    "hint": "if its pages are meant to connect, add it to allowed_origins",
                },
            )
        # A page whose Origin is allowed has been judged; without one, only its mark tells of it.
        if not origins and self._is_strange_page(scope):
            return Refusal(
                403,
                EdgeCode.FORBIDDEN_ORIGIN,
                "a page of another site asks for this, and shows no key",
                {
                    "expected": "a key, or a page of allowed_origins that asks with its Origin",
                    "hint": "open the page of the service itself",
                },
            )
        return self._judge_place(scope)

    def _judge_place(self, scope: Scope) -> Refusal | None:
        paced: PacedTransport | None = (scope.get("extensions") or {}).get("paced")
        if paced is None:
            full = self._open >= self._max_connections
        else:
            client = scope.get("client")
            if client is not None and client[0]:
                paced.places.name(paced.place, client[0])
            full = paced.place.kept_back
        if not full or _is_health(scope) or self._is_admin(scope):
            return None
        return Refusal(
            503,
            EdgeCode.TOO_MANY_CONNECTIONS,
            "the service has too many connections",
            {
                "expected": f"at most {self._max_connections}",
                "hint": "try again later or on another server",
                "retry_after_s": CONNECTIONS_RETRY_S,
            },
            {"retry-after": str(CONNECTIONS_RETRY_S), "connection": "close"},
        )

    def _is_admin(self, scope: Scope) -> bool:
        caller = self._keys.caller(bearer(scope["headers"]))
        return caller is not None and caller.admin

    def _is_strange_page(self, scope: Scope) -> bool:
        """Tell whether a browser says that another site's page asks, which may not."""
        if "cross-site" not in _values(scope, b"sec-fetch-site") or _is_health(scope):
            return False
        navigates = scope["type"] == "http" and "navigate" in _values(scope, b"sec-fetch-mode")
        if navigates and (scope["path"] == "/" or scope["path"].startswith("/demo")):
            return False
        return self._keys.caller(bearer(scope["headers"])) is None


def _is_health(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["type"] == "http" and path.startswith("/health")


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _parse_origin(text: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port; None for ``null`` and all that is no web page's origin."""
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        return None
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        return None
    authority = parse_authority(parts.netloc)
    default_port = DEFAULT_PORTS.get(parts.scheme)
    if authority is None or default_port is None:
        return None
    return parts.scheme, authority.host, authority.port or default_port
