from __future__ import annotations

import asyncio

from fast_vc_service.client.pacing import Pacer


class Clock:
    """A clock that only sleeping and working move; a sleep is off by a factor and a constant."""

    def __init__(self, excess_s: float = 0.0, factor: float = 1.0) -> None:
        self.now_s = 100.0
        self.excess_s = excess_s
        self.factor = factor
        self.sleeps = 0

    def __call__(self) -> float:
        return self.now_s

    async def pass_time(self, seconds: float) -> None:
        self.sleeps += 1
        self.now_s += seconds * self.factor + self.excess_s


def due_times(clock: Clock, offsets: list[float], work_s: list[float]) -> list[float]:
    async def run() -> list[float]:
        pacer = Pacer(clock, clock.pass_time)
        dues = []
        for offset, work in zip(offsets, work_s, strict=True):
            dues.append(await pacer.wait_until(offset))
            clock.now_s += work
        return dues

    return asyncio.run(run())


def test_moments_hang_on_the_start_alone() -> None:
    clock = Clock(excess_s=0.003)
    offsets = [i * 0.02 for i in range(500)]
    dues = due_times(clock, offsets, [0.005] * 500)
    assert dues == [100.0 + offset for offset in offsets]
    # The last wait ended late by one excess, not by five hundred.
    assert clock.now_s - (100.0 + offsets[-1]) < 0.02


def test_a_late_caller_catches_up_without_sleeping() -> None:
    clock = Clock()
    dues = due_times(clock, [0.0, 0.02, 0.04, 0.06], [0.05, 0.0, 0.0, 0.0])
    assert dues == [100.0, 100.02, 100.04, 100.06]
    assert clock.sleeps == 1
    assert clock.now_s == 100.06


def test_a_sleep_that_ends_early_is_continued() -> None:
    clock = Clock(factor=0.9)
    due_times(clock, [0.0, 0.02], [0.0, 0.0])
    assert clock.now_s >= 100.02


def test_moments_may_count_from_a_given_start() -> None:
    clock = Clock()
    pacer = Pacer(clock, clock.pass_time, started_s=107.0)
    assert pacer.due_s(0.5) == 107.5
    assert asyncio.run(pacer.wait_until(1.0)) == 108.0
    assert clock.now_s == 108.0
