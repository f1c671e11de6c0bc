"""The register: neutral first, learned slowly, then frozen."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_vc_service.audio.register import (
    FAST_SEMITONES_PER_S,
    FROZEN_AFTER_S,
    MAX_SEMITONES_PER_S,
    NEUTRAL_F0_HZ,
    NEUTRAL_SPREAD,
    Register,
    semitones,
    track,
)

FRAME_S = 0.005


def frames(f0_hz: float, seconds: float) -> np.ndarray:
    return np.full(round(seconds / FRAME_S), f0_hz)


def moved(register: Register) -> float:
    """Semitones from the neutral prior."""
    return semitones(math.exp(register.median_log_f0), NEUTRAL_F0_HZ)


def test_semitones() -> None:
    assert semitones(440, 220) == 12
    assert semitones(100, 200) == -12


def test_it_is_used_from_the_first_voiced_frames_and_told_after_half_a_second() -> None:
    first = track(Register(), frames(220, 0.1), FRAME_S)
    assert 0 < semitones(220, math.exp(first.median_log_f0)) < 2.5
    register = track(first, frames(220, 0.39), FRAME_S)
    assert abs(semitones(220, math.exp(register.median_log_f0))) < 1
    assert register.spread == NEUTRAL_SPREAD
    assert register.learned_f0_hz is None
    known = track(register, frames(220, 0.02), FRAME_S).learned_f0_hz
    assert known == pytest.approx(220, rel=0.04)


def test_silence_between_words_does_not_count_as_voice() -> None:
    words = np.tile(np.concatenate([frames(220, 0.1), frames(0, 0.5)]), 4)
    register = track(Register(), words, FRAME_S)
    assert register.voiced_s == pytest.approx(0.4)
    assert register.learned_f0_hz is None


def test_it_moves_at_most_twelve_semitones_a_second_at_first() -> None:
    register = track(Register(), frames(100, 0.15), FRAME_S)
    before = moved(register)
    register = track(register, frames(400, 0.5), FRAME_S)
    assert moved(register) - before <= 12 * 0.5 + 1e-6


@settings(max_examples=20)
@given(seed=st.integers(0, 20))
def test_only_the_frames_with_the_first_voiced_one_move_it_freely(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = 60 + 600 * rng.random((40, 8)) * (rng.random((40, 8)) < 0.4)
    blocks[blocks == 60] = 0
    register, begun = Register(), False
    for block in blocks:
        after = track(register, block, 0.01, rng.random(8))
        if begun:
            assert abs(moved(after) - moved(register)) <= FAST_SEMITONES_PER_S * 0.08 + 1e-9
        begun = after.voiced_s > 0
        register = after


def test_an_opening_that_creaks_or_squeaks_is_taken_with_a_grain_of_salt() -> None:
    """Half an octave off for a quarter of a second, then as everybody speaks."""
    for f0_hz, opening in ((200.0, 75.0), (115.0, 230.0)):
        register = track(Register(), frames(opening, 0.1), FRAME_S)
        register = track(register, frames(f0_hz, 0.9), FRAME_S)
        assert abs(semitones(math.exp(register.median_log_f0), f0_hz)) < 1.5


def test_what_the_tracker_is_sure_of_counts_for_more() -> None:
    heard = np.tile([110.0, 220.0], 500)
    sure = np.tile([0.4, 0.1], 500)
    register = track(Register(), heard, FRAME_S, sure)
    assert abs(semitones(math.exp(register.median_log_f0), 110)) < 0.2


@pytest.mark.parametrize("f0_hz", [85, 110, 230, 400])
def test_a_known_register_is_right_from_the_start_and_stays(f0_hz: float) -> None:
    register = Register.known(f0_hz)
    # Openings lie high: three semitones above the rest.
    for seconds, above in ((0.3, 3.0), (0.7, 1.0), (4.0, 0.0)):
        heard = frames(f0_hz * 2 ** (above / 12), seconds)
        register = track(register, heard, FRAME_S)
        assert abs(semitones(math.exp(register.median_log_f0), f0_hz)) < 0.3


@pytest.mark.parametrize("octaves", [-1, 1])
@pytest.mark.parametrize("f0_hz", [85, 160, 280])
def test_a_creak_or_a_whisper_at_the_beginning_is_no_other_speaker(
    octaves: int, f0_hz: float
) -> None:
    register = track(Register.known(f0_hz), frames(f0_hz * 2.0**octaves, 0.45), FRAME_S)
    assert abs(semitones(math.exp(register.median_log_f0), f0_hz)) < 1
    register = track(register, frames(f0_hz, 3), FRAME_S)
    assert abs(semitones(math.exp(register.median_log_f0), f0_hz)) < 0.3


@pytest.mark.parametrize("octaves", [-1, 1])
@pytest.mark.parametrize("f0_hz", [110, 220])
def test_a_register_an_octave_wrong_is_given_up(octaves: int, f0_hz: float) -> None:
    register = track(Register.known(f0_hz * 2.0**octaves), frames(f0_hz, 3), FRAME_S)
    assert abs(semitones(math.exp(register.median_log_f0), f0_hz)) < 2


@pytest.mark.parametrize("f0_hz", [0.0, 49.9, 1100.1, math.nan, math.inf])
def test_a_register_out_of_range_is_refused(f0_hz: float) -> None:
    with pytest.raises(ValueError, match="source_f0_hz: expected 50 to 1100"):
        Register.known(f0_hz)


@pytest.mark.parametrize("f0_hz", [75, 110, 159, 240, 400])
def test_arrives_at_the_median(f0_hz: float) -> None:
    register = track(Register(), frames(f0_hz, 10), FRAME_S)
    assert abs(semitones(math.exp(register.median_log_f0), f0_hz)) < 0.1


def test_octave_errors_do_not_pull_it_away() -> None:
    f0 = frames(120.0, 8)
    f0[::5] *= 2
    f0[1::7] /= 2
    register = track(Register(), f0, FRAME_S)
    assert abs(semitones(math.exp(register.median_log_f0), 120)) < 0.2


def test_moves_at_most_two_semitones_a_second_from_then_on() -> None:
    register = track(Register(), frames(100, 2.0), FRAME_S)
    places = [moved(register)]
    for _ in range(1000):
        register = track(register, frames(300, FRAME_S), FRAME_S)
        places.append(moved(register))
    steps = np.diff(places)
    most = MAX_SEMITONES_PER_S * FRAME_S
    assert np.abs(steps).max() <= most * (1 + 1e-9)
    # It moves once more was heard of the new voice than of the old one, and stays on its way.
    assert np.count_nonzero(steps > 0.99 * most) == pytest.approx(600, abs=40)


def test_freezes_after_ten_seconds_of_voice() -> None:
    register = track(Register(), frames(120, 9.99), FRAME_S)
    assert not register.frozen
    register = track(register, frames(120, 0.02), FRAME_S)
    assert register.frozen
    assert register.voiced_s == pytest.approx(FROZEN_AFTER_S)
    assert track(register, frames(300, 30), FRAME_S) == register


def test_gets_to_the_frozen_median_even_when_that_takes_longer() -> None:
    register = track(Register(), frames(100, 4.5), FRAME_S)
    register = track(register, frames(1000, 5.5), FRAME_S)
    assert register.frozen
    assert semitones(math.exp(register.median_log_f0), 1000) < -20
    register = track(register, frames(0, 30), FRAME_S)
    assert abs(semitones(math.exp(register.median_log_f0), 1000)) < 0.5


@settings(max_examples=20)
@given(seed=st.integers(0, 20), cuts=st.lists(st.integers(0, 3000), max_size=12))
def test_cutting_frames_into_calls_makes_no_difference(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    f0 = 150 * np.exp(0.3 * rng.standard_normal(3000))
    f0[rng.random(3000) < 0.3] = 0
    whole = track(Register(), f0, FRAME_S)
    register = Register()
    for first, last in pairwise([0, *sorted(cuts), 3000]):
        register = track(register, f0[first:last], FRAME_S)
    assert register == whole
    assert register.spread == whole.spread


def test_agrees_with_the_median_and_spread_of_all_values() -> None:
    f0 = np.exp(np.random.default_rng(1).normal(math.log(150), 0.2, 1900))
    register = track(Register(), f0, FRAME_S)
    assert register.median_log_f0 == pytest.approx(np.median(np.log(f0)), abs=0.003)
    expected = NEUTRAL_SPREAD + (0.2 - NEUTRAL_SPREAD) * 9.5 / 11.5
    assert register.spread == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("values", [[], [0.0] * 500, [np.nan] * 500, [np.inf, -np.inf, -5.0, 1e9]])
def test_no_voice_is_neutral_and_finite(values: list[float]) -> None:
    register = track(Register(), np.array(values), FRAME_S)
    assert register == Register()
    assert math.isfinite(register.median_log_f0)
    assert register.spread == NEUTRAL_SPREAD


def test_the_argument_is_not_changed_and_memory_is_bounded() -> None:
    first = track(Register(), frames(100, 1), FRAME_S)
    before = first.median_log_f0, first.voiced_s, first._counts
    later = track(first, frames(200, 100), FRAME_S)
    assert (first.median_log_f0, first.voiced_s, first._counts) == before
    assert len(later._counts) == len(Register()._counts) < 1000


def test_edges_of_the_range_are_heard() -> None:
    for f0_hz in (50.0, 1099.9):
        assert track(Register(), frames(f0_hz, 1), FRAME_S).voiced_s == pytest.approx(1)
