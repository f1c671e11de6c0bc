"""Which program is at the other end of a connection within this machine, as Linux tells it.

``/proc/net/tcp`` has the user of every socket, and its inode; ``/proc/<pid>/fd`` says whose that
is. A program that takes TCP connections itself may hand on what others ask: it is no user of ours.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Address = tuple[str, int]

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENING = "0A"
_STATE, _LOCAL, _REMOTE, _UID, _INODE = 3, 1, 2, 7, 9


@dataclass(frozen=True, slots=True)
class _Socket:
    """A line of the table."""

    listens: bool
    local: Address
    remote: Address
    uid: int
    inode: str


def is_our_user(peer: Address, own: Address) -> bool | None:
    """Tell whether a program of this user, and one that serves nobody, has connected.

    Takes up to tens of milliseconds.

    Args:
        peer: Its end, a loopback address.
        own: Our end.

    Returns:
        None where the system does not tell.
    """
    try:
        sockets = list(_sockets())
    except OSError:
        return None
    ends = (_plain(peer), _plain(own))
    found = [each for each in sockets if (each.local, each.remote) == ends]
    if len(found) != 1 or found[0].uid != os.geteuid():
        return False
    listening = {each.inode for each in sockets if each.listens}
    holders = list(_holders(found[0].inode))
    return bool(holders) and all(listening.isdisjoint(held) for held in holders)


def _sockets() -> Iterator[_Socket]:
    tables = 0
    for table in map(Path, _TABLES):
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except FileNotFoundError:  # IPv6 may be off
            continue
        tables += 1
        for line in lines:
            fields = line.split()
            yield _Socket(
                fields[_STATE] == _LISTENING,
                _read(fields[_LOCAL]),
                _read(fields[_REMOTE]),
                int(fields[_UID]),
                fields[_INODE],
            )
    if not tables:
        raise FileNotFoundError(_TABLES[0])


def _read(text: str) -> Address:
    host, _, port = text.partition(":")
    words = (host[start : start + 8] for start in range(0, len(host), 8))
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return _plain((socket.inet_ntop(family, packed), int(port, 16)))


def _plain(address: Address) -> Address:
    """Return ``address`` in one spelling; an IPv4 address within IPv6 as IPv4."""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return str(mapped or host), address[1]


def _holders(inode: str) -> Iterator[set[str]]:
    """Yield the inodes of all sockets of each process that has this one, as far as can be seen."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            held = _held(folder / "fd")
            if inode in held:
                yield held


def _held(folder: Path) -> set[str]:
    held: set[str] = set()
    try:
        names = list(folder.iterdir())
    except OSError:  # another user's, or gone
        return held
    for name in names:
        with contextlib.suppress(OSError):  # closed by now
            target = str(name.readlink())
            if target.startswith("socket:["):
                held.add(target[8:-1])
    return held
