"""Who counts as being on the machine of the service: they may, without keys, what others may not.

A request counts as local when all of this holds: no proxy and no other host name is configured,
its socket comes from loopback, its head names a loopback host and no proxy, and the program at the
other end is one of our own user that takes no connections itself, where the system tells. Who has
the token of the service's own file counts as well.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from starlette.types import Scope

from fast_vc_service.process.peer import Address, is_our_user
from fast_vc_service.server.authority import parse_authority
from fast_vc_service.server.sockets.addresses import is_loopback

_FORWARDED = {b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"}


class LocalAccess:
    """Judges requests.

    Args:
        by_address: Whether where a request comes from says anything: neither a proxy nor a host
            name that others use is configured.
        token: What the file of the service holds; None when there is none.
        is_ours: Tells whose program a connection is; None: the system does not say.
    """

    def __init__(
        self,
        *,
        by_address: bool = True,
        token: str | None = None,
        is_ours: Callable[[Address, Address], bool | None] = is_our_user,
    ) -> None:
        self._by_address = by_address
        self._token = token
        self._is_ours = is_ours
        self._judged: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

    def holds_token(self, presented: str | None) -> bool:
        """Tell whether ``presented`` is the token."""
        if presented is None or self._token is None:
            return False
        return hmac.compare_digest(presented.encode("utf-8", "replace"), self._token.encode())

    async def is_local(self, scope: Scope, presented: str | None) -> bool:
        """Judge the request of ``scope``, which brings ``presented``."""
        if self.holds_token(presented):
            return True
        if not self._by_address or not _names_this_machine(scope):
            return False
        transport = (scope.get("extensions") or {}).get("paced")
        if transport is None:
            # Not our own server, so there is no socket to look at.
            return True
        if transport not in self._judged:
            ends = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
            self._judged[transport] = await asyncio.to_thread(self._judge, *ends)
        return self._judged[transport]

    def _judge(self, peer: Any, own: Any) -> bool:
        if not peer or not is_loopback(peer[0]):
            return False
        return self._is_ours((peer[0], peer[1]), (own[0], own[1])) is not False


def _names_this_machine(scope: Scope) -> bool:
    """Tell whether a request says itself that it was made here, and by no proxy."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    # HTTP/1.0 is what proxies speak that are told nothing else.
    if len(hosts) != 1 or scope.get("http_version") == "1.0":
        return False
    if scope["client"] is None or any(name in _FORWARDED for name, _ in headers):
        return False
    authority = parse_authority(hosts[0])
    return authority is not None and is_loopback(authority.host) and is_loopback(scope["client"][0])
