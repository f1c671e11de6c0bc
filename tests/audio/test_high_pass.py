"""The high-pass: its response, its recursion, and that it begins in its steady state."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from fast_vc_service.audio.high_pass import (
    FIT_S,
    HighPass,
    LatestSamples,
    continuation,
    high_pass,
)
from fast_vc_service.contract import FloatArray

RATES = (8_000, 16_000, 22_050, 44_100, 48_000, 192_000)
HUM = 10 ** (-29 / 20) * 2**0.5
DISTURBANCES = {
    **{f"DC {level:+g}": (0.0, level) for level in (0.01, -0.05, 0.2, -0.3, 0.3)},
    **{f"{hz:g} Hz": (hz, HUM) for hz in (10.0, 16.7, 20.0, 35.0, 50.0, 60.0)},
}


def disturbance(kind: str, rate: int, seconds: float = 1.0, phase: float = 1.0) -> FloatArray:
    hz, level = DISTURBANCES[kind]
    time = np.arange(round(seconds * rate)) / rate
    wave = np.cos(2 * np.pi * hz * time + phase) if hz else np.ones(len(time))
    return np.asarray(level * wave, np.float32)


def dbfs(x: FloatArray) -> float:
    return float(10 * np.log10(np.mean(np.square(x, dtype=np.float64)) + 1e-20))


def loudest_20_ms(x: FloatArray, rate: int) -> float:
    size = rate // 50
    return max(dbfs(frame) for frame in x[: len(x) // size * size].reshape(-1, size))


def reference(rate: int) -> np.ndarray:
    turn = 2 * np.pi * 60.5
    prototype = scipy.signal.cheby2(11, 60, turn, "high", analog=True, output="zpk")
    sections: np.ndarray = scipy.signal.zpk2sos(*scipy.signal.bilinear_zpk(*prototype, rate))
    return sections


@pytest.mark.parametrize("rate", RATES)
def test_it_is_the_chebyshev_filter_it_says(rate: int) -> None:
    x = np.random.default_rng(0).uniform(-0.5, 0.5, rate // 2).astype(np.float32)
    ours, _ = HighPass.at(rate).step(x, np.zeros(11))
    assert np.abs(ours - scipy.signal.sosfilt(reference(rate), x)).max() < 2e-6


@pytest.mark.parametrize("rate", RATES)
def test_speech_passes_and_what_lies_below_does_not(rate: int) -> None:
    impulse = np.eye(1, rate, dtype=np.float32)[0]
    response, _ = HighPass.at(rate).step(impulse, np.zeros(11))
    hz = np.array([0.0, 10.0, 20.0, 50.0, 60.0, 60.5, 80.0, 85.0, 100.0, 300.0, 3_400.0])
    time = np.arange(rate) / rate
    spectrum = np.exp(-2j * np.pi * np.outer(hz, time)) @ response
    gain = 20 * np.log10(np.abs(spectrum) + 1e-12)
    assert gain[0] < -100
    assert (gain[1:6] < -59.5).all()
    assert (np.abs(gain[6:]) < 0.6).all()


@given(
    cuts=st.lists(st.integers(0, 4_000), max_size=12),
    begun=st.booleans(),
    seed=st.integers(0, 5),
)
def test_cut_into_pieces_it_says_the_same(cuts: list[int], begun: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (0.2 + 0.1 * rng.standard_normal(4_000)).astype(np.float32)
    first = round(FIT_S * 16_000)
    bounds = [0, *sorted(cut for cut in cuts if begun or cut >= first), len(x)]
    state = np.zeros(11) if begun else None
    whole, end = HighPass.at(16_000).step(x, state)
    pieces = []
    for start, stop in pairwise(bounds):
        before = None if state is None else state.copy()
        piece, state = HighPass.at(16_000).step(x[start:stop], before)
        pieces.append(piece)
    assert np.allclose(np.concatenate(pieces), whole, atol=1e-6)
    assert state is not None
    assert np.allclose(state, end, atol=1e-9)


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("kind", DISTURBANCES)
@pytest.mark.parametrize("phase", [0.0, 1.1, 2.6])
def test_it_begins_as_if_the_disturbance_had_always_been_there(
    rate: int, kind: str, phase: float
) -> None:
    filtered = high_pass(disturbance(kind, rate, phase=phase), rate)
    assert loudest_20_ms(filtered, rate) < -85


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("kind", DISTURBANCES)
def test_at_the_end_the_disturbance_goes_on(rate: int, kind: str) -> None:
    heard = disturbance(kind, rate)
    more = continuation(heard[-round(FIT_S * rate) :], rate // 4, rate)
    filtered = high_pass(np.concatenate([heard, more]), rate)
    assert loudest_20_ms(filtered[-len(more) :], rate) < -85


@pytest.mark.parametrize("level", [0.1, 0.3])
def test_a_step_is_a_click_that_is_over_after_200_ms(level: float) -> None:
    x = np.zeros(16_000, np.float32)
    x[8_000:] = level
    filtered = high_pass(x, 16_000)
    assert np.abs(filtered).max() <= 1.0
    assert loudest_20_ms(filtered[:8_000], 16_000) < -100
    assert loudest_20_ms(filtered[8_000 + 3_200 :], 16_000) < -60


def test_nothing_goes_on_after_nothing() -> None:
    assert not continuation(np.zeros(0, np.float32), 5, 16_000).any()
    assert not continuation(np.zeros(100, np.float32), 5, 16_000).any()
    assert len(high_pass(np.zeros(0, np.float32), 16_000)) == 0


@given(st.integers(1, 200), st.sampled_from(RATES))
def test_clips_of_any_length_stay_finite(count: int, rate: int) -> None:
    x = np.random.default_rng(count).uniform(-1, 1, count).astype(np.float32)
    assert np.isfinite(high_pass(x, rate)).all()
    more = continuation(x, 100, rate)
    assert np.abs(more).max() <= 1.0


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=8))
def test_the_latest_samples_go_on_alike_however_they_came(lengths: list[int]) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, sum(lengths)).astype(np.float32)
    latest = LatestSamples(16_000)
    for piece in np.split(x, np.cumsum(lengths)[:-1]):
        latest.add(piece)
    whole = continuation(x[-round(FIT_S * 16_000) :], 100, 16_000)
    np.testing.assert_array_equal(latest.continuation(100), whole)
