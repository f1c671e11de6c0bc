from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fast_vc_service.process.local_token import LocalTokenFile
from fast_vc_service.process.peer import is_our_user
from fast_vc_service.server.local_access import LocalAccess

LINUX = Path("/proc/net/tcp").exists()
DUAL_STACK = [socket.AF_INET6] if socket.has_dualstack_ipv6() else []
FAMILIES = [socket.AF_INET, *DUAL_STACK]

CLIENT = """
import socket, sys
other = socket.create_server(("127.0.0.1", 0)) if sys.argv[2] == "serves" else None
end = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sys.stdin.read()
"""


class Transport:
    """Of our own server."""

    def __init__(self, peer: str = "127.0.0.1", own: str = "127.0.0.1") -> None:
        self.ends = {"peername": (peer, 50_000), "sockname": (own, 8042)}
        self.asked = 0

    def get_extra_info(self, name: str) -> Any:
        self.asked += 1
        return self.ends[name]


def scope(transport: Transport | None = None, **more: Any) -> dict[str, Any]:
    headers = [(b"host", b"localhost:8042"), *more.pop("headers", [])]
    extensions = {} if transport is None else {"paced": transport}
    return {
        "type": "http",
        "http_version": "1.1",
        "client": ("127.0.0.1", 50_000),
        "headers": headers,
        "extensions": extensions,
        **more,
    }


def judged(access: LocalAccess, *arguments: Any, token: str | None = None) -> bool:
    return asyncio.run(access.is_local(scope(*arguments), token))


@pytest.mark.parametrize(("told", "local"), [(True, True), (None, True), (False, False)])
def test_who_is_at_the_other_end_counts_where_the_system_tells(
    told: bool | None, local: bool
) -> None:
    access = LocalAccess(is_ours=lambda _peer, _own: told)
    transport = Transport()
    assert judged(access, transport) is local
    assert judged(access, transport) is local
    assert transport.asked == 2, "a connection is looked at once"


def test_a_socket_from_elsewhere_is_not_local_whatever_its_head_says() -> None:
    access = LocalAccess(is_ours=lambda _peer, _own: True)
    assert not judged(access, Transport(peer="192.168.1.9"))


@pytest.mark.parametrize(
    "more",
    [
        {"http_version": "1.0"},
        {"client": None},
        {"client": ("192.168.1.9", 1)},
        {"headers": [(b"host", b"localhost")]},
        {"headers": [(b"x-forwarded-for", b"127.0.0.1")]},
        {"headers": [(b"forwarded", b"for=127.0.0.1")]},
        {"headers": [(b"via", b"1.1 proxy")]},
    ],
)
def test_a_head_that_a_proxy_has_made_is_not_local(more: dict[str, Any]) -> None:
    access = LocalAccess(is_ours=lambda _peer, _own: True)
    assert not asyncio.run(access.is_local(scope(Transport(), **more), None))


def test_behind_a_proxy_only_the_token_counts() -> None:
    access = LocalAccess(by_address=False, token="right", is_ours=lambda _peer, _own: True)
    assert not judged(access, Transport())
    assert not judged(access, Transport(), token="wrong")
    assert not judged(access, Transport(), token="\ud800")
    assert judged(access, Transport(peer="192.168.1.9"), token="right")
    assert not judged(LocalAccess(by_address=False), Transport(), token="")


@pytest.mark.skipif(not LINUX, reason="the system does not tell")
@pytest.mark.parametrize("kind", ["asks", "serves"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_program_of_ours_is_known_unless_it_takes_connections_itself(
    kind: str, family: socket.AddressFamily
) -> None:
    any_address = "127.0.0.1" if family == socket.AF_INET else "::"
    dual = family == socket.AF_INET6
    with (
        socket.create_server((any_address, 0), family=family, dualstack_ipv6=dual) as server,
        subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(server.getsockname()[1]), kind],
            stdin=subprocess.PIPE,
        ) as client,
    ):
        end, peer = server.accept()
        with end:
            own = end.getsockname()
            ours = is_our_user((peer[0], peer[1]), (own[0], own[1]))
            assert ours is (kind == "asks")
            assert is_our_user((peer[0], 1), (own[0], own[1])) is False
        client.communicate()


@pytest.mark.skipif(not LINUX, reason="the system does not tell")
def test_a_program_of_another_user_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(server.getsockname()[1]), "asks"],
            stdin=subprocess.PIPE,
        ) as client,
    ):
        end, peer = server.accept()
        with end:
            other = os.geteuid() + 1
            monkeypatch.setattr(os, "geteuid", lambda: other)
            assert is_our_user(peer, end.getsockname()) is False
        client.communicate()


def test_the_token_is_for_this_user_alone_and_follows_no_link(tmp_path: Path) -> None:
    token = LocalTokenFile(tmp_path, 8042)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    token.path.symlink_to(victim)
    token.write()
    assert victim.read_text() == "mine"
    assert stat.S_IMODE(token.path.lstat().st_mode) == 0o600
    assert token.path.read_text().strip() == token.token
    later = LocalTokenFile(tmp_path, 8042)
    later.write()
    token.remove()
    assert token.path.exists(), "it is another one's by now"
    later.remove()
    assert not token.path.exists()
