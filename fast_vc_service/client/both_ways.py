"""Sending and receiving side by side, until both are done or one has failed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fast_vc_service.client.errors import VoiceServiceError


async def both_ways(
    sending: Coroutine[Any, Any, None], receiving: Coroutine[Any, Any, None]
) -> None:
    """Run both sides of a session to their end.

    When the session fails for ``sending``, ``receiving`` goes on until it learns of that too: what
    was converted before is still to be taken. Any other failure of one side cancels the other.

    Raises:
        VoiceServiceError: The session has failed.
        Exception: What else a side has raised; both, as a group, if both have.
    """
    sender, receiver = asyncio.create_task(sending), asyncio.create_task(receiving)
    sides = (sender, receiver)
    try:
        await asyncio.wait(sides, return_when=asyncio.FIRST_EXCEPTION)
        if sender.done() and _is_end_of_session(_failure(sender)):
            await asyncio.wait(sides)
    finally:
        for side in sides:
            side.cancel()
        await asyncio.wait(sides)
    failures = [failure for side in sides if (failure := _failure(side)) is not None]
    faults = [failure for failure in failures if not _is_end_of_session(failure)]
    if len(faults) > 1:
        raise BaseExceptionGroup("sending and receiving failed", faults)
    for failure in faults or failures:
        raise failure


def _failure(side: asyncio.Task[None]) -> BaseException | None:
    return None if side.cancelled() else side.exception()


def _is_end_of_session(failure: BaseException | None) -> bool:
    return isinstance(failure, VoiceServiceError)
