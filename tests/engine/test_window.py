from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_vc_service.contract import FloatArray, Voice
from fast_vc_service.engine.stream import Stream
from fast_vc_service.engine.window import WindowConverter, WindowGeometry

GEOMETRY = WindowGeometry(block=3200, context=4800, right=528, fade=320, search=224)


class IdentityModel:
    """Gives the window back, scaled: what comes out of the converter is then known exactly."""

    family = "identity"

    def __init__(self, sample_rate_out: int = 16000) -> None:
        self.sample_rate_out = sample_rate_out
        self.seen: list[tuple[int, FloatArray]] = []
        self.fail = False
        self.spoils: str | None = None

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:
        return Voice(name, self.family)

    def new_memory(self, voice: Voice, pitch_shift: float, seed: int) -> float:
        return 1.0

    def convert(
        self,
        windows: FloatArray,
        new_samples: int,
        right_samples: int,
        memories: Sequence[Any],
        positions: Sequence[int],
    ) -> tuple[FloatArray, list[Any]]:
        if self.fail:
            raise RuntimeError("on purpose")
        self.seen.append((positions[0], windows[0]))
        length = windows.shape[1] * self.sample_rate_out // 16000
        places = np.arange(length) * (16000 / self.sample_rate_out)
        rows = [
            np.interp(places, np.arange(windows.shape[1]), window) * memory
            for window, memory in zip(windows, memories, strict=True)
        ]
        made, after = np.stack(rows).astype(np.float32), list(memories)
        if self.spoils == "sound":
            made[0, -1] = np.inf
        if self.spoils == "memory":
            after[0] = float("nan")
        return made, after

    def retarget(self, memory: Any, voice: Voice, pitch_shift: float) -> float:
        return 0.25


VOICE = Voice("v", "identity")


def speech(samples: int) -> FloatArray:
    noise = np.random.default_rng(1).standard_normal(samples)
    return (0.1 * np.convolve(noise, np.ones(8) / 8, "same")).astype(np.float32)


def run(converter: WindowConverter, audio: FloatArray) -> FloatArray:
    state = converter.new_state(VOICE)
    blocks = audio[: len(audio) // converter.block * converter.block].reshape(-1, converter.block)
    return np.concatenate([converter.step(block[None], [state])[0] for block in blocks])


def test_an_identity_model_gives_the_input_back_delayed_by_exactly_the_delay() -> None:
    audio = speech(32000)
    out = run(WindowConverter(IdentityModel(), GEOMETRY), audio)
    assert np.abs(out[: GEOMETRY.delay]).max() == 0
    assert np.allclose(out[GEOMETRY.delay :], audio[: len(out) - GEOMETRY.delay], atol=1e-6)


@settings(max_examples=15)
@given(
    block=st.integers(5, 25).map(lambda n: n * 320),
    fade=st.integers(2, 10).map(lambda n: n * 80),
    search=st.integers(1, 6).map(lambda n: n * 80),
    delay=st.integers(3, 8).map(lambda n: n * 320),
    rate=st.sampled_from([16000, 24000, 48000]),
)
def test_any_geometry_keeps_its_place(
    block: int, fade: int, search: int, delay: int, rate: int
) -> None:
    right = delay - fade - search // 2
    if right < 0:
        return
    geometry = WindowGeometry(block, 4800, right, fade, search)
    converter = WindowConverter(IdentityModel(rate), geometry)
    audio = speech(5 * block)
    out = run(converter, audio)
    length = len(out)
    places = (np.arange(length) * (16000 / rate)) - geometry.delay
    expected = np.interp(places, np.arange(len(audio)), audio, left=0.0)
    assert np.abs(out - expected).max() < 0.02


def test_windows_overlap_by_the_context_and_know_their_place() -> None:
    model = IdentityModel()
    audio = speech(9600)
    run(WindowConverter(model, GEOMETRY), audio)
    assert [position for position, _ in model.seen] == [-4800, -1600, 1600]
    assert np.array_equal(model.seen[2][1], audio[1600:])


def test_a_failing_step_changes_no_state() -> None:
    model = IdentityModel()
    converter = WindowConverter(model, GEOMETRY)
    audio = speech(9600).reshape(3, 3200)
    state, twin = converter.new_state(VOICE), converter.new_state(VOICE)
    converter.step(audio[:1], [state])
    converter.step(audio[:1], [twin])
    model.fail = True
    with pytest.raises(RuntimeError, match="on purpose"):
        converter.step(audio[1:2], [state])
    model.fail = False
    again = converter.step(audio[1:2], [state])
    assert np.array_equal(again, converter.step(audio[1:2], [twin]))


@pytest.mark.parametrize("where", ["sound", "memory", "input"])
def test_a_row_that_is_no_number_touches_no_other(where: str) -> None:
    def run_beside(spoilt: bool) -> FloatArray:
        model = IdentityModel()
        converter = WindowConverter(model, GEOMETRY)
        blocks = speech(6 * converter.block).reshape(3, 2, -1)
        bad, other = (converter.new_state(VOICE) for _ in range(2))
        converter.step(blocks[0], [bad, other])
        if spoilt:
            model.spoils = where
            blocks[1, 0, 7] = np.nan if where == "input" else 0.0
        before = replace(bad)
        out = converter.step(blocks[1], [bad, other])
        model.spoils = None
        if spoilt:
            assert np.isnan(out[0]).all()
            assert all(
                getattr(bad, part.name) is getattr(before, part.name) for part in fields(bad)
            )
            converter.skip(bad)
        after = converter.step(blocks[2], [bad, other])
        assert np.isfinite(after).all()
        return np.stack([out[1], after[1]])

    assert np.array_equal(run_beside(spoilt=True), run_beside(spoilt=False))


def test_skip_fades_out_within_5_ms_and_the_next_block_fades_in() -> None:
    model = IdentityModel()
    converter = WindowConverter(model, GEOMETRY)
    state = converter.new_state(VOICE)
    loud = np.full((1, 3200), 0.5, np.float32)
    before = converter.step(loud, [state])[0]
    silence = converter.skip(state)
    after = converter.step(loud, [state])[0]
    assert abs(silence[0] - before[-1]) < 0.02
    assert not silence[80:].any()
    assert np.abs(np.diff(silence[:81])).max() < 0.02
    assert not after[: GEOMETRY.delay - 80].any()
    assert np.abs(np.diff(after)).max() < 0.02
    assert after[-1] == pytest.approx(0.5)


def test_update_changes_the_target_without_a_click() -> None:
    converter = WindowConverter(IdentityModel(), GEOMETRY)
    state = converter.new_state(VOICE)
    loud = np.full((1, 3200), 0.5, np.float32)
    before = converter.step(loud, [state])[0]
    converter.update(state, VOICE, 0.0)
    after = converter.step(loud, [state])[0]
    assert after[-1] == pytest.approx(0.125)
    assert np.abs(np.diff(np.concatenate([before, after])[2000:])).max() < 0.01


def test_a_batch_equals_each_session_alone() -> None:
    converter = WindowConverter(IdentityModel(), GEOMETRY)
    audio = speech(4 * 9600).reshape(4, 3, 3200)
    together = [converter.new_state(VOICE) for _ in range(4)]
    batched = np.stack([converter.step(audio[:, step], together) for step in range(3)], axis=1)
    for row in range(4):
        state = converter.new_state(VOICE)
        alone = np.stack(
            [converter.step(audio[row, step : step + 1], [state])[0] for step in range(3)]
        )
        assert np.array_equal(batched[row], alone)


def test_geometry_that_breaks_the_contract_is_refused() -> None:
    with pytest.raises(ValueError, match="delay must be a multiple"):
        replace(GEOMETRY, right=500)
    with pytest.raises(ValueError, match="block must be a multiple"):
        replace(GEOMETRY, block=3000)
    with pytest.raises(ValueError, match="context must cover"):
        replace(GEOMETRY, context=320)
    with pytest.raises(ValueError, match="no whole number"):
        WindowConverter(IdentityModel(22050), replace(GEOMETRY, right=528 + 80, fade=240))


def test_the_stream_trims_the_window_delay() -> None:
    audio = speech(20_001)
    converter = WindowConverter(IdentityModel(), GEOMETRY)
    stream = Stream(converter, rate_in=16000, rate_out=16000)
    state = converter.new_state(VOICE)
    stream.push(audio)
    stream.end()
    out = []
    while (block := stream.take_block()) is not None:
        out.append(stream.accept(converter.step(block[None], [state])[0]))
    assert np.allclose(np.concatenate(out), audio, atol=1e-6)
