from __future__ import annotations

from collections.abc import Sequence

import pytest

from fast_vc_service.contract import FloatArray, State
from fast_vc_service.engine.capacity import GivenUpError, measure
from stub_converter import StubConverter, stub_voice
from waiting import spend


def test_a_quick_converter_is_found_to_carry_many_sessions_and_more_with_more_threads() -> None:
    one = measure(StubConverter(), stub_voice(), threads=1, max_batch=8)
    # How many fit by the event loop says more of what else the machine does.
    assert 0 < one.step_s < one.batch * 0.04 / 2
    assert 0 < one.lone_s < 0.04
    assert 0 < one.probe_s < 0.04
    assert one.rtf == pytest.approx(one.step_s / 0.04)


def test_a_converter_that_cannot_keep_up_still_gets_one_session() -> None:
    class Slow(StubConverter):
        def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
            spend(0.05)
            return super().step(blocks, states)

    found = measure(Slow(), stub_voice(), threads=4, max_batch=8)
    assert found.sessions == 1
    assert not found.carries_one


def test_a_measurement_is_given_up_between_two_steps() -> None:
    converter = StubConverter()
    with pytest.raises(GivenUpError):
        measure(
            converter,
            stub_voice(),
            threads=2,
            max_batch=8,
            give_up=lambda: len(converter.steps) > 4,
        )
    assert len(converter.steps) <= 6
