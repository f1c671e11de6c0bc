from __future__ import annotations

from collections import Counter

import pytest

from fast_vc_service.server.sockets.held_bytes import SMALL_BYTES, HeldBytes
from fast_vc_service.server.sockets.places import KEPT_BACK, MOST_AN_ADDRESS, Place, Places


class Sockets:
    """Places, and who has lost theirs."""

    def __init__(self, most: int) -> None:
        self.refused: Counter[str] = Counter()
        self.dropped: list[Place] = []
        self.places = Places(most, on_refused=lambda code: self.refused.update([code]))

    def come(self, address: str | None = "127.0.0.1") -> Place | None:
        place = self.places.take(address, 0.0)
        if place is not None:
            place.drop = lambda: self.dropped.append(place)
        return place

    def known(self, address: str | None = "127.0.0.1") -> Place:
        place = self.come(address)
        assert place is not None
        self.places.know(place)
        return place


def test_unknown_sockets_hold_at_most_four_fifths_and_the_oldest_goes() -> None:
    sockets = Sockets(10)
    came = [sockets.come() for _ in range(30)]
    assert sockets.places.unknown == 8
    assert sockets.dropped == came[:22]
    assert sockets.refused == {"PLACE_LOST": 22}


def test_known_sockets_never_go() -> None:
    sockets = Sockets(10)
    known = [sockets.known() for _ in range(10)]
    for _ in range(100):
        sockets.come()
    assert not set(known) & set(sockets.dropped)
    assert len(sockets.places) <= 10 + KEPT_BACK


def test_a_full_service_keeps_places_back() -> None:
    sockets = Sockets(4)
    assert not any(sockets.known().kept_back for _ in range(4))
    beyond = [sockets.come() for _ in range(3)]
    assert all(place is not None and place.kept_back for place in beyond)


def test_nobody_gets_a_place_that_nobody_can_leave() -> None:
    sockets = Sockets(1)
    for _ in range(1 + KEPT_BACK):
        sockets.known()
    assert sockets.come() is None
    assert sockets.refused["NO_PLACE"] == 1


@pytest.mark.parametrize(
    ("addresses", "counted"),
    [
        (["192.0.2.1"], True),
        (["::ffff:192.0.2.1", "192.0.2.1"], True),
        (["2001:db8::1", "2001:db8::2:3"], True),
        (["127.0.0.1"], False),
        (["::1"], False),
        (["::ffff:127.0.0.1"], False),
        ([None], False),
    ],
)
def test_an_address_holds_so_many_places_and_loopback_any(
    addresses: list[str | None], counted: bool
) -> None:
    sockets = Sockets(1000)
    for number in range(MOST_AN_ADDRESS + 6):
        sockets.come(addresses[number % len(addresses)])
    other = sockets.come("198.51.100.7")
    assert sockets.places.unknown == (MOST_AN_ADDRESS if counted else MOST_AN_ADDRESS + 6) + 1
    assert sockets.refused["TOO_MANY_OF_ADDRESS"] == (6 if counted else 0)
    assert other not in sockets.dropped


def test_whom_a_trusted_proxy_names_is_who_is_counted() -> None:
    sockets = Sockets(1000)
    for _ in range(MOST_AN_ADDRESS + 1):
        place = sockets.come("127.0.0.1")
        assert place is not None
        sockets.places.name(place, "192.0.2.1")
    assert sockets.refused["TOO_MANY_OF_ADDRESS"] == 1


def test_places_are_given_back_whatever_happened_to_them() -> None:
    sockets = Sockets(1000)
    for _ in range(500):
        place = sockets.come("192.0.2.1")
        assert place is not None
        sockets.places.know(place)
        sockets.places.forget(place)
        sockets.places.know(place)
        sockets.places.leave(place)
        sockets.places.leave(place)
    assert (len(sockets.places), sockets.places.unknown) == (0, 0)
    assert not sockets.refused


def test_an_answered_request_makes_a_socket_unknown_and_the_youngest() -> None:
    sockets = Sockets(5)
    first = sockets.known()
    others = [sockets.come() for _ in range(3)]
    sockets.places.forget(first)
    sockets.come()
    assert sockets.dropped == others[:1]


def test_what_unknown_sockets_have_kept_is_bounded_together() -> None:
    places, held = Places(1000), HeldBytes(2 << 20)
    taken = [places.take(None, 0.0) for _ in range(100)]
    most = 0
    for place in taken:
        assert place is not None
        while held.has_room(place) and place.held_bytes < 64 * 1024:
            held.hold(place, place.held_bytes + 4096)
        most = max(most, held.total)
    assert most <= 2 << 20
    assert all(place.held_bytes >= SMALL_BYTES for place in taken if place)


def test_who_found_no_room_reads_on_when_there_is() -> None:
    places, held = Places(10), HeldBytes(200_000)
    greedy, waiting = places.take(None, 0.0), places.take(None, 0.0)
    assert greedy is not None
    assert waiting is not None
    held.hold(greedy, 150_000)
    held.hold(waiting, SMALL_BYTES)
    assert not held.has_room(waiting)
    looked: list[bool] = []
    held.wait(lambda: looked.append(held.has_room(waiting)))
    held.hold(greedy, 120_000)
    assert not looked
    held.hold(greedy, 0)
    assert looked == [True]


def test_what_a_known_socket_keeps_is_not_counted() -> None:
    places, held = Places(10), HeldBytes(100_000)
    place = places.take(None, 0.0)
    assert place is not None
    held.hold(place, 50_000)
    places.know(place)
    held.hold(place, 1_000_000)
    assert held.total == 0
    assert held.has_room(place)
