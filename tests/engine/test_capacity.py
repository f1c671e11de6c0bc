from __future__ import annotations

from collections.abc import Sequence

import pytest

from fast_vc_service.contract import FloatArray, State
from fast_vc_service.engine.capacity import Capacity, LiveCapacity, measure
from stub_converter import StubConverter, stub_voice
from waiting import spend


def test_a_quick_converter_is_found_to_carry_many_sessions_and_more_with_more_threads() -> None:
    one = measure(StubConverter(), stub_voice(), threads=1, max_batch=8)
    assert one.sessions >= 2
    assert one.step_s > 0
    assert one.rtf == pytest.approx(one.step_s / 0.04)


def test_a_converter_that_cannot_keep_up_still_gets_one_session() -> None:
    class Slow(StubConverter):
        def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
            spend(0.05)
            return super().step(blocks, states)

    assert measure(Slow(), stub_voice(), threads=4, max_batch=8).sessions == 1


def test_slow_live_steps_lower_the_capacity_until_they_are_quick_again() -> None:
    live = LiveCapacity(Capacity(sessions=10, step_s=0.01, batch=4, stream_s=1e-4, block_s=0.2))
    assert live.sessions == 10
    for _ in range(500):
        live.observe(0.02, 4)
    assert live.sessions in {5, 6}
    for _ in range(500):
        live.observe(5.0, 1)
    assert live.sessions in {5, 6}, "a small batch says nothing of the full one"
    for _ in range(2000):
        live.observe(0.005, 4)
    assert live.sessions == 10
