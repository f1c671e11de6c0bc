from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest

from fast_vc_service.contract import FloatArray, Voice
from fast_vc_service.models.nano.acoustic import Acoustic, Prepared
from fast_vc_service.models.nano.blend import blend_voices
from fast_vc_service.models.nano.converter import NanoConverter
from fast_vc_service.models.nano.prepared_voices import PreparedVoice
from fast_vc_service.models.nano.row_pool import PAGE_ROWS
from tests.models import nano_networks
from tests.models.test_nano_blend import stand_in

STOPS = 3 * PAGE_ROWS
"""Blends that a slider leaves behind."""


@pytest.fixture
def converter() -> NanoConverter:
    return NanoConverter(nano_networks.networks(), block_ms=20)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[Prepared]:
    """Everything that the acoustic model prepares."""
    made: list[Prepared] = []
    original: Callable[..., Prepared] = Acoustic.prepare

    def prepare(*arguments: object) -> Prepared:
        made.append(original(*arguments))
        return made[-1]

    monkeypatch.setattr(Acoustic, "prepare", prepare)
    return made


def noise(converter: NanoConverter) -> FloatArray:
    return np.random.default_rng(0).normal(0, 0.1, (1, converter.block)).astype(np.float32)


def test_a_voice_is_prepared_once_for_all_who_speak_with_it(
    converter: NanoConverter, prepared: list[Prepared]
) -> None:
    voice = stand_in("alto", 0, 400)
    states = [converter.new_state(voice) for _ in range(STOPS)]
    converter.update(states[0], voice, 2.0)
    assert len(prepared) == 1
    assert len({state.voice_row for state in states}) == 1
    # The rows of another voice lie elsewhere.
    assert converter.new_state(stand_in("bass", 1, 400)).voice_row != states[0].voice_row


def test_what_was_made_of_a_voice_goes_with_the_last_who_speaks_with_it(
    converter: NanoConverter, prepared: list[Prepared]
) -> None:
    voice = stand_in("alto", 0, 400)
    states = [converter.new_state(voice) for _ in range(2)]
    row = states[0].voice_row
    del states[0]
    gc.collect()
    states.append(converter.new_state(voice))
    assert len(prepared) == 1, "one still speaks with it"
    states.clear()
    gc.collect()
    assert converter.new_state(voice).voice_row == row, "its row is free again"
    assert len(prepared) == 2


def test_a_slider_prepares_nothing_in_a_step_and_does_not_grow(
    converter: NanoConverter, prepared: list[Prepared]
) -> None:
    alto, bass = stand_in("alto", 0, 400), stand_in("bass", 1, 300)
    state = converter.new_state(alto)
    block = noise(converter)
    for stop in range(1, STOPS):
        share = stop / STOPS
        blend = converter.prepare(blend_voices(str(stop), [(alto, share), (bass, 1 - share)]))
        before = len(prepared)
        converter.update(state, blend, 0.0)
        converter.step(block, [state])
        assert len(prepared) == before
    assert len(prepared) == STOPS
    gc.collect()
    assert state.voice.rows.rows == PAGE_ROWS, "blends that were left are not kept"


def test_a_voice_that_was_not_prepared_sounds_as_one_that_was(converter: NanoConverter) -> None:
    voice, block = stand_in("alto", 0, 400), noise(converter)
    ahead = converter.new_state(converter.prepare(voice), seed=3)
    at_once = converter.new_state(voice, seed=3)
    for _ in range(6):
        assert np.array_equal(converter.step(block, [ahead]), converter.step(block, [at_once]))


def test_a_voice_that_another_converter_prepared_is_prepared_anew(
    converter: NanoConverter, prepared: list[Prepared]
) -> None:
    other = NanoConverter(nano_networks.networks(seed=1), block_ms=20)
    foreign = other.prepare(stand_in("alto", 0, 400))
    own = converter.prepare(foreign)
    assert len(prepared) == 2
    assert isinstance(own, PreparedVoice)
    assert own is not foreign
    assert converter.prepare(own) is own


def test_a_damaged_voice_is_refused_when_it_is_prepared(converter: NanoConverter) -> None:
    with pytest.raises(ValueError, match="make it anew"):
        converter.prepare(Voice("x", "nano", {}))
