from __future__ import annotations

import numpy as np
import pytest

from fast_vc_service.contract import FloatArray, Voice
from fast_vc_service.models.passthrough.converter import PassthroughConverter

VOICE = Voice("any", "passthrough")
EDGE = 80


def audio(count: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, count).astype(np.float32)


def stream(converter: PassthroughConverter, samples: FloatArray) -> FloatArray:
    state = converter.new_state(VOICE)
    blocks = samples.reshape(-1, converter.block)
    return np.concatenate([converter.step(block[None], [state])[0] for block in blocks])


@pytest.mark.parametrize(("block_ms", "delay_ms"), [(20, 20), (20, 60), (100, 40)])
def test_output_is_the_input_one_delay_later(block_ms: int, delay_ms: int) -> None:
    converter = PassthroughConverter(block_ms, delay_ms)
    samples = audio(converter.block * 12)
    out = stream(converter, samples)
    np.testing.assert_array_equal(out[converter.delay :], samples[: -converter.delay])
    assert not out[: converter.delay].any()


def test_rows_of_a_batch_do_not_meet() -> None:
    converter = PassthroughConverter()
    first, second = audio(converter.block * 3, 1), audio(converter.block * 3, 2)
    states = [converter.new_state(VOICE), converter.new_state(VOICE)]
    out = [
        converter.step(np.stack(pair), states)
        for pair in zip(first.reshape(3, -1), second.reshape(3, -1), strict=True)
    ]
    both = np.concatenate(out, axis=1)
    np.testing.assert_array_equal(both[0], stream(converter, first))
    np.testing.assert_array_equal(both[1], stream(converter, second))


def test_skip_fades_out_stands_silent_and_the_next_block_fades_in() -> None:
    converter = PassthroughConverter(20, 40)
    state = converter.new_state(VOICE)
    ones = np.full((1, converter.block), 0.5, np.float32)
    for _ in range(3):
        converter.step(ones, [state])
    skipped = converter.skip(state)
    again = converter.skip(state)
    after = np.concatenate([converter.step(ones, [state])[0] for _ in range(4)])

    assert 0.49 < skipped[0] < 0.5
    assert np.all(np.diff(skipped[:EDGE]) < 0)
    assert not skipped[EDGE:].any()
    assert not again.any()
    # What was heard before the skip is gone; the new block comes out a delay after it came in.
    assert not after[: converter.delay].any()
    onset = after[converter.delay :]
    assert onset[0] < 0.01
    assert np.all(np.diff(onset[:EDGE]) > 0)
    np.testing.assert_array_equal(onset[EDGE:], 0.5)


def test_output_is_finite_and_within_full_scale() -> None:
    converter = PassthroughConverter()
    wild = np.array([np.nan, np.inf, -np.inf, 3.0, -3.0] * 64, np.float32)
    out = stream(converter, np.concatenate([wild, wild]))
    assert np.all(np.isfinite(out))
    assert np.abs(out).max() <= 1.0


def test_a_failed_step_changes_no_state() -> None:
    converter = PassthroughConverter()
    state = converter.new_state(VOICE)
    converter.step(audio(converter.block)[None], [state])
    before = state.pending.copy()
    with pytest.raises(ValueError, match="expected blocks"):
        converter.step(np.zeros((1, 100), np.float32), [state])
    np.testing.assert_array_equal(state.pending, before)


@pytest.mark.parametrize(("block_ms", "delay_ms"), [(0, 20), (30, 20), (20, 0), (20, 10)])
def test_lengths_must_be_multiples_of_20_ms(block_ms: int, delay_ms: int) -> None:
    with pytest.raises(ValueError, match="multiple of 20"):
        PassthroughConverter(block_ms, delay_ms)


def test_an_empty_clip_makes_no_voice() -> None:
    with pytest.raises(ValueError, match="empty"):
        PassthroughConverter().make_voice("x", np.zeros(0, np.float32), 16_000)
