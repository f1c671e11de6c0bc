"""Waiting, for all tests: this is the one file of them that sleeps.

A test waits for what is to come about (:func:`until`). It spends time only where the time itself is
what it is about: a slow model, a load that lasts, a client that says nothing for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 60.0
"""Far more than anything takes on a busy machine: only what never comes about is given up on."""

_EVERY_S = 0.01


def until(condition: Callable[[], T], what: str = "", within_s: float = PATIENCE_S) -> T:
    """Ask again and again until the answer is true, and return it.

    Raises:
        AssertionError: It did not come about; ``what`` says what was waited for.
    """
    deadline = time.monotonic() + within_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or condition}: {answer!r} after {within_s} s")
        time.sleep(_EVERY_S)
    return answer


async def until_async(condition: Callable[[], T], what: str = "") -> T:
    """:func:`until`, with the event loop going on."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or condition}: {answer!r} after {PATIENCE_S} s")
        await asyncio.sleep(_EVERY_S)
    return answer


def spend(seconds: float) -> None:
    """Let time pass."""
    time.sleep(seconds)


async def spend_async(seconds: float) -> None:
    """Let time pass, with the event loop going on; none, or less, lets it go round once."""
    await asyncio.sleep(max(0.0, seconds))
