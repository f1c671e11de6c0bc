"""Two sides of a session: whatever fails in either of them is told."""

from __future__ import annotations

import asyncio

import pytest

from fast_vc_service.client.both_ways import both_ways
from fast_vc_service.client.errors import CONNECTION_LOST, VoiceServiceError
from waiting import spend_async

LOST = VoiceServiceError(CONNECTION_LOST, "gone")


async def fails(with_what: Exception) -> None:
    raise with_what


async def for_ever(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("cancelled")


async def fails_when_cancelled(with_what: Exception) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise with_what


async def ends() -> None:
    await spend_async(0)


@pytest.mark.parametrize("sending_fails", [True, False])
def test_a_fault_of_one_side_ends_the_other_and_is_told(sending_fails: bool) -> None:
    ended: list[str] = []
    sides = [fails(ZeroDivisionError()), for_ever(ended)]
    sending, receiving = sides if sending_fails else reversed(sides)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(both_ways(sending, receiving))
    assert ended == ["cancelled"]


def test_a_lost_session_ends_a_sender_that_waits_for_its_microphone() -> None:
    ended: list[str] = []
    with pytest.raises(VoiceServiceError):
        asyncio.run(both_ways(for_ever(ended), fails(LOST)))
    assert ended == ["cancelled"]


def test_when_sending_finds_the_session_lost_the_rest_is_still_received() -> None:
    received: list[int] = []

    async def receive() -> None:
        for number in range(3):
            await spend_async(0)
            received.append(number)

    with pytest.raises(VoiceServiceError):
        asyncio.run(both_ways(fails(LOST), receive()))
    assert received == [0, 1, 2]


def test_a_fault_is_told_rather_than_that_the_session_is_lost() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(both_ways(fails(LOST), fails(ZeroDivisionError())))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(both_ways(fails_when_cancelled(ZeroDivisionError()), fails(LOST)))


def test_faults_of_both_sides_are_told_both() -> None:
    with pytest.raises(ExceptionGroup) as told:
        asyncio.run(both_ways(fails_when_cancelled(KeyError()), fails(ZeroDivisionError())))
    assert [type(fault) for fault in told.value.exceptions] == [KeyError, ZeroDivisionError]


def test_nothing_is_told_of_sides_that_end() -> None:
    asyncio.run(both_ways(ends(), ends()))


def test_who_is_cancelled_leaves_neither_side_behind() -> None:
    ended: list[str] = []

    async def run() -> None:
        async with asyncio.timeout(0.01):
            await both_ways(for_ever(ended), for_ever(ended))

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert ended == ["cancelled", "cancelled"]
