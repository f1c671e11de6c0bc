"""A machine that others use, at the start or later: what the service says that it carries.

``tests/engine/test_learned_capacity.py`` is the fast form, on a machine whose time is only counted.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from service import ROOT, RunningService, launch
from test_overload import Talk, talk

from waiting import spend, spend_async, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BURNERS = 4
BURN_S = 60.0
AGAIN_S = 240.0
"""How long it may take until it is known that the machine is free: nobody needs it sooner."""

TALK_S = 20.0
FEWEST = 8
PROGRAM = str(ROOT / "tests" / "e2e" / "costly_passthrough.py")


@contextmanager
def burners() -> Iterator[None]:
    """Programs that take all they can get."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BURNERS)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


@contextmanager
def started(home: Path) -> Iterator[RunningService]:
    service = launch(home, "--engine", "passthrough", program=[PROGRAM])
    try:
        service.wait_until("ready")
        yield service
    finally:
        service.stop()


def capacity(service: RunningService) -> int:
    return int(service.get("/health")[1]["sessions"]["capacity"])


def quiet_capacity(service: RunningService) -> int:
    """The capacity of a start without burners; where others take the machine it says nothing."""
    found = capacity(service)
    assert found >= FEWEST, f"expected a quiet machine: {found} sessions fit, of about 15"
    return found


def test_a_busy_start_is_made_up_for_when_the_machine_is_left_alone(tmp_path: Path) -> None:
    with started(tmp_path / "before") as service:
        quiet = quiet_capacity(service)
    with burners():
        # It starts with the burners and outlives them.
        service = launch(tmp_path / "busy", "--engine", "passthrough", program=[PROGRAM])
        try:
            service.wait_until("ready")
            busy = capacity(service)
            spend(BURN_S)
        except BaseException:
            service.process.kill()
            raise
    try:
        # Others may use the machine too: what counts is what a start finds at the same time.
        until(lambda: capacity(service) > busy, "it is measured again", within_s=AGAIN_S)
        with started(tmp_path / "after") as other:
            wanted = 0.8 * min(quiet, capacity(other))
        until(lambda: capacity(service) >= wanted, f"at least {wanted}", within_s=AGAIN_S)
        print(f"quiet {quiet}, with burners {busy}, afterwards {capacity(service)}")
    finally:
        service.stop()


def test_who_comes_while_others_take_the_machine_is_heard_or_refused(tmp_path: Path) -> None:
    with started(tmp_path) as service:
        quiet = quiet_capacity(service)
        talks, refused = asyncio.run(come(service, quiet))
        left = capacity(service)
    said_s = TALK_S * len(talks)
    silenced_s = sum(each.stats["silenced_ms"] for each in talks) / 1e3
    print(
        f"quiet {quiet}, with burners {left}: {len(talks)} came, {refused} were refused, "
        f"{silenced_s / said_s:.2%} silenced"
    )
    assert refused, "not everybody fits"
    assert left < quiet
    assert silenced_s < 0.01 * said_s


async def come(service: RunningService, most: int) -> tuple[list[Talk], int]:
    """Burners first, then people, one a second; returns what they heard, and how many did not."""

    async def one(number: int) -> Talk | None:
        await spend_async(1.0 * number)
        try:
            return await talk(service.url, 200.0 + 37 * number, TALK_S)
        except AssertionError as refused:
            if "BUSY" not in str(refused):
                raise
            return None

    with burners():
        await spend_async(1.0)
        heard = await asyncio.gather(*(one(number) for number in range(most + 4)))
    talks = [each for each in heard if each is not None]
    return talks, len(heard) - len(talks)
