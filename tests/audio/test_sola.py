"""Joining pieces: the offset search and the cross-fade."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_vc_service.audio.sola import best_offset, crossfade
from fast_vc_service.contract import FloatArray


def noise(samples: int, seed: int = 0) -> FloatArray:
    return (0.2 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@given(
    offset=st.integers(0, 160),
    gain=st.floats(0.05, 4.0),
    loud_start=st.booleans(),
)
def test_finds_the_place_whatever_the_level(offset: int, gain: float, loud_start: bool) -> None:
    candidate = noise(480)
    tail = (candidate[offset : offset + 320] * gain).astype(np.float32)
    if loud_start:  # without normalisation loud samples would win
        candidate[:offset] *= 20
    assert best_offset(candidate, tail) == offset


def test_of_equal_periods_the_nearest_to_the_middle_wins() -> None:
    period = 40
    wave = np.sin(2 * np.pi * np.arange(800) / period).astype(np.float32) * np.float32(0.5)
    for shift in range(period):
        tail = wave[shift : shift + 320]
        offset = best_offset(wave[:480], tail)
        assert (offset - shift) % period in {0, 1, period - 1}
        assert abs(offset - 80) <= period // 2 + 1


@pytest.mark.parametrize("level", [0.0, 1e-6, 1e-30, 1e-42])
def test_silence_is_not_shifted(level: float) -> None:
    quiet = (noise(480) * np.float32(level)).astype(np.float32)
    assert best_offset(quiet, noise(320)) == best_offset(np.zeros(480, np.float32), noise(320))
    assert best_offset(np.zeros(480, np.float32), noise(320)) == 80
    assert best_offset(noise(480), quiet[:320]) == 80


def test_the_search_is_deterministic_and_blind_to_memory_layout() -> None:
    candidate, tail = noise(480, 1), noise(320, 2)
    expected = best_offset(candidate, tail)
    for shift in range(1, 9):
        moved = np.concatenate([np.zeros(shift, np.float32), candidate])[shift:]
        assert best_offset(moved, tail) == expected


@pytest.mark.parametrize(("candidate", "tail"), [(319, 320), (10, 0)])
def test_impossible_searches_are_refused(candidate: int, tail: int) -> None:
    with pytest.raises(ValueError, match="at least as long"):
        best_offset(noise(candidate), noise(tail))


def test_a_signal_faded_into_itself_is_unchanged() -> None:
    x = noise(320)
    np.testing.assert_allclose(crossfade(x, x), x, atol=1e-6)


def test_the_ends_join_without_a_step() -> None:
    old, new = np.full(320, 0.5, np.float32), np.full(320, -0.5, np.float32)
    faded = crossfade(old, new)
    assert faded[0] == pytest.approx(0.5, abs=1e-4)
    assert faded[-1] == pytest.approx(-0.5, abs=1e-4)
    assert np.abs(np.diff(faded)).max() < 0.02
    assert faded.dtype == np.float32


def test_unlike_signals_keep_their_power() -> None:
    powers = np.mean(
        [np.square(crossfade(noise(320, k), noise(320, 1000 + k))) for k in range(300)], axis=0
    )
    np.testing.assert_allclose(powers, 0.04, rtol=0.35)
    assert np.mean(powers[150:170]) == pytest.approx(0.04, rel=0.1)


def test_fading_from_and_to_silence_is_a_ramp() -> None:
    silence, ones = np.zeros(100, np.float32), np.ones(100, np.float32)
    rise = crossfade(silence, ones)
    assert (np.diff(rise) > 0).all()
    np.testing.assert_allclose(rise + crossfade(ones, silence), 1, atol=1e-6)
    assert not crossfade(silence, silence).any()


def test_opposite_signals_stay_bounded() -> None:
    x = noise(320)
    assert np.abs(crossfade(x, -x)).max() <= 1.5 * np.abs(x).max()


def test_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="equal lengths"):
        crossfade(noise(3), noise(4))
