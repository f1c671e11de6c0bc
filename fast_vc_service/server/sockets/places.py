"""How many sockets there may be, counted from ``accept``, and which goes when there are too many.

Whoever has not shown a key (or, on a service without keys, opened a session) is *unknown*. Unknown
sockets hold at most :data:`UNKNOWN_SHARE` of the places: when theirs are full the oldest of them
goes, so that neither silent nor half-open ones keep anybody out for long. Beyond all places a few
are kept for the health routes and for admins; whoever asks for anything else there is told 503.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator

from fast_vc_service.server.sockets.addresses import is_loopback, network_of
from fast_vc_service.server.sockets.codes import SocketCode

UNKNOWN_SHARE = 0.8
KEPT_BACK = 16
"""Places beyond all others, for the health routes and for admins."""

MOST_AN_ADDRESS = 64
"""Unknown sockets of one address (IPv6: one /64); loopback is exempt."""


class Place:
    """The place of one socket.

    Args:
        address: Whose it is, as text; None when the system does not tell.
        kept_back: It is one of those for the health routes and for admins.
        deadline: Monotonic seconds by which it must have asked for something.

    Attributes:
        known: Whether a key was shown, or a session opened.
        held_bytes: Bytes that are kept for it.
        drop: Cuts its line.
        check: Called every second with the monotonic time.
        shift: Called with the seconds in which the process stood still, which count for nothing;
            :meth:`put_off` unless there is more to put off.
    """

    def __init__(self, address: str | None, *, kept_back: bool, deadline: float) -> None:
        self.address = address
        self.kept_back = kept_back
        self.deadline: float | None = deadline
        self.known = False
        self.held_bytes = 0
        self.drop: Callable[[], object] = lambda: None
        self.check: Callable[[float], None] = lambda _now: None
        self.shift: Callable[[float], None] = self.put_off

    def is_late(self, now: float) -> bool:
        """Whether it should have asked for something by ``now``."""
        return self.deadline is not None and now > self.deadline

    def put_off(self, seconds: float) -> None:
        """Give it ``seconds`` more to ask for something."""
        if self.deadline is not None:
            self.deadline += seconds


class Places:
    """All places; belongs to the event loop.

    Args:
        most: Places, besides those that are kept back.
        head_s: Seconds a socket has to ask for something.
        on_refused: Told the code of everyone who loses a place, or gets none.
    """

    def __init__(
        self,
        most: int = 1000,
        *,
        head_s: float = 10.0,
        on_refused: Callable[[str], None] = lambda _code: None,
    ) -> None:
        self._most = most
        self._most_unknown = max(1, int(UNKNOWN_SHARE * most))
        self._head_s = head_s
        self.refuse = on_refused
        self._taken: set[Place] = set()
        # In the order of their coming: the first is the oldest.
        self._unknown: dict[Place, None] = {}
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._taken)

    def __iter__(self) -> Iterator[Place]:
        return iter(list(self._taken))

    @property
    def unknown(self) -> int:
        """Sockets of whom nothing is known."""
        return len(self._unknown)

    def take(self, address: str | None, now: float) -> Place | None:
        """Give a socket a place, another one's if need be; None when nobody can go for it."""
        if len(self._unknown) >= self._most_unknown or len(self._taken) >= self._most:
            self.drop_oldest()
        if len(self._taken) >= self._most + KEPT_BACK:
            self.refuse(SocketCode.NO_PLACE)
            return None
        kept_back = len(self._taken) >= self._most
        place = Place(address, kept_back=kept_back, deadline=now + self._head_s)
        self._taken.add(place)
        self._join(place)
        return place

    def leave(self, place: Place) -> None:
        """Forget a socket that is gone; idempotent."""
        if place in self._taken:
            self._taken.discard(place)
            self._part(place)

    def know(self, place: Place) -> None:
        """Take note that ``place`` has shown a key, or opened a session."""
        place.deadline = None
        if not place.known and place in self._taken:
            self._part(place)
            place.known = True

    def forget(self, place: Place) -> None:
        """Know nothing of ``place`` any more: its request has been answered."""
        if place.known and place in self._taken:
            place.known = False
            self._join(place)

    def name(self, place: Place, address: str) -> None:
        """Count ``place`` under the client that a trusted proxy names."""
        if place.known or place not in self._taken or address == place.address:
            return
        self._part(place)
        place.address = address
        self._join(place)

    def asked(self, place: Place) -> None:
        """Take note that ``place`` has said what it wants."""
        place.deadline = None

    def begins(self, place: Place, now: float) -> None:
        """Take note that ``place`` begins to say what it wants."""
        place.deadline = now + self._head_s

    def drop_oldest(self, address: str | None = None) -> None:
        """Cut the line of the oldest unknown socket (of ``address``)."""
        for place in self._unknown:
            if address is None or _group(place.address) == address:
                self.refuse(
                    SocketCode.PLACE_LOST if address is None else SocketCode.TOO_MANY_OF_ADDRESS
                )
                self.leave(place)
                place.drop()
                return

    def _join(self, place: Place) -> None:
        self._unknown[place] = None
        group = _group(place.address)
        if group is not None:
            if self._by_address[group] >= MOST_AN_ADDRESS:
                self.drop_oldest(group)
            self._by_address[group] += 1

    def _part(self, place: Place) -> None:
        if self._unknown.pop(place, place) is None:
            group = _group(place.address)
            if group is not None:
                self._by_address[group] -= 1
                if not self._by_address[group]:
                    del self._by_address[group]


def _group(address: str | None) -> str | None:
    """Return what sockets of one address are counted under; None: they are not."""
    if address is None or is_loopback(address):
        return None
    try:
        return network_of(ipaddress.ip_address(address))
    except ValueError:
        return address
