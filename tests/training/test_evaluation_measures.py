from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.evaluation.bootstrap import draw_weights, ratio
from training.evaluation.borders import border_ratio, places
from training.evaluation.level import SILENCE_DBFS, active_level_dbfs
from training.evaluation.pitch import agreement, f0_track
from training.evaluation.words import character_errors, distance, normalised, word_errors

RATE = 16_000
FloatArray = NDArray[np.float32]


def voice(f0_hz: NDArray[np.float64], rng: np.random.Generator) -> FloatArray:
    """Five harmonics of a melody given every sample, and a little noise."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 6))
    return (0.1 * tone + 1e-3 * rng.standard_normal(len(f0_hz))).astype(np.float32)


def melody(seconds: float, mean_hz: float, semitones: float = 3.0) -> NDArray[np.float64]:
    t = np.arange(round(seconds * RATE)) / RATE
    return mean_hz * 2 ** (semitones / 12 * np.sin(2 * np.pi * 0.8 * t))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


class TestPitch:
    def test_a_track_agrees_with_itself(self, rng: np.random.Generator) -> None:
        f0 = f0_track(voice(melody(2.0, 140.0), rng), RATE)
        found = agreement(f0, f0)
        assert found.correlation == pytest.approx(1.0)
        assert (found.rmse_semitones, found.voicing_error) == (0.0, 0.0)

    def test_the_track_is_the_melody_every_10_ms(self, rng: np.random.Generator) -> None:
        wanted = melody(2.0, 140.0)
        f0 = f0_track(voice(wanted, rng), RATE)
        times = np.arange(len(f0)) * RATE // 100
        inner = slice(10, 190)
        assert np.abs(12 * np.log2(f0[inner] / wanted[times[inner]])).max() < 0.3

    def test_a_moved_register_changes_nothing(self) -> None:
        f0 = melody(2.0, 140.0)[:: RATE // 100].astype(np.float32)
        found = agreement(f0, 1.7 * f0)
        assert found.correlation == pytest.approx(1.0, abs=1e-6)
        assert found.rmse_semitones == pytest.approx(0.0, abs=1e-4)

    def test_a_flattened_melody_costs_its_range(self) -> None:
        f0 = melody(2.5, 140.0, semitones=4.0)[:: RATE // 100].astype(np.float32)
        half = melody(2.5, 200.0, semitones=2.0)[:: RATE // 100].astype(np.float32)
        found = agreement(f0, half)
        assert found.correlation == pytest.approx(1.0, abs=1e-6)
        # A sine of 2 semitones is left over.
        assert found.rmse_semitones == pytest.approx(2 / np.sqrt(2), abs=0.02)

    def test_an_inverted_melody_is_correlated_negatively(self) -> None:
        up = melody(2.5, 140.0, 3.0)[:: RATE // 100].astype(np.float32)
        down = melody(2.5, 140.0, -3.0)[:: RATE // 100].astype(np.float32)
        assert agreement(up, down).correlation == pytest.approx(-1.0, abs=1e-6)

    def test_voicing_is_counted_and_too_little_of_it_says_nothing(self) -> None:
        f0 = np.full(100, 120.0, np.float32)
        other = np.where(np.arange(100) < 10, 120.0, 0.0).astype(np.float32)
        found = agreement(f0, other)
        assert found.voicing_error == pytest.approx(0.9)
        assert np.isnan(found.correlation)
        assert np.isnan(found.rmse_semitones)


class TestBorders:
    BLOCK = 3200

    def test_places_follow_block_and_delay(self) -> None:
        assert places(10_000, 3200, 0) == [3200, 6400, 9600]
        assert places(10_000, 3200, 640) == [2560, 5760, 8960]
        assert places(4_000, 320, 640)[:2] == [320, 640]

    def test_speech_without_borders_measures_one(self, rng: np.random.Generator) -> None:
        speech = voice(melody(8.0, 117.0), rng)
        found = border_ratio(speech, RATE, places(len(speech), self.BLOCK, 0))
        assert found.click == pytest.approx(1.0, abs=0.15)
        assert found.flux == pytest.approx(1.0, abs=0.15)

    def test_clicks_at_borders_are_found_and_clicks_elsewhere_are_not(
        self, rng: np.random.Generator
    ) -> None:
        speech = voice(melody(8.0, 117.0), rng)
        marks = places(len(speech), self.BLOCK, 640)
        clean = border_ratio(speech, RATE, marks)
        clicked = speech.copy()
        clicked[marks] += 0.05
        assert border_ratio(clicked, RATE, marks).click > 2 * clean.click
        elsewhere = [mark + self.BLOCK // 2 for mark in marks]
        assert border_ratio(clicked, RATE, elsewhere).click < 1.1 * clean.click

    def test_a_jump_in_timbre_at_borders_is_flux(self, rng: np.random.Generator) -> None:
        speech = voice(melody(8.0, 117.0), rng)
        dull = np.convolve(speech, np.full(8, 1 / 8, np.float32), mode="same")
        odd = np.arange(len(speech)) // self.BLOCK % 2 == 1
        jumping = np.where(odd, dull, speech).astype(np.float32)
        marks = places(len(speech), self.BLOCK, 0)
        assert border_ratio(jumping, RATE, marks).flux > 2 * border_ratio(speech, RATE, marks).flux

    def test_silence_and_too_few_borders_say_nothing(self, rng: np.random.Generator) -> None:
        assert np.isnan(border_ratio(np.zeros(RATE, np.float32), RATE, [4000, 8000]).click)
        assert np.isnan(border_ratio(voice(melody(1.0, 117.0), rng), RATE, [8000]).flux)
        assert np.isnan(border_ratio(voice(melody(1.0, 117.0), rng), RATE, []).flux)


class TestLevel:
    def test_pauses_do_not_count(self) -> None:
        tone = (0.5 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)).astype(np.float32)
        speech = np.concatenate([tone, np.zeros(3 * RATE, np.float32)])
        assert active_level_dbfs(speech, RATE) == pytest.approx(20 * np.log10(0.5 / 2**0.5), 0.01)

    def test_silence_has_a_floor(self) -> None:
        assert active_level_dbfs(np.zeros(RATE, np.float32), RATE) == SILENCE_DBFS


class TestWords:
    def test_text_is_compared_without_case_punctuation_and_form(self) -> None:
        assert normalised("  Hello,\tWORLD! ﬁne—Été. ") == "hello world fine été"

    @pytest.mark.parametrize(
        ("said", "heard", "edits"),
        [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("abc", "abc", 0)],
    )
    def test_distance_by_hand(self, said: str, heard: str, edits: int) -> None:
        assert distance(said, heard) == edits

    def test_error_counts_by_hand(self) -> None:
        # "the cat sat" against "the hat": c>h, and " sat" of four letters is missing.
        assert character_errors("The cat sat.", "the hat") == (5, 11)
        assert word_errors("The cat sat.", "the hat") == (2, 3)


class TestBootstrap:
    def test_mean_and_pooled_ratio_by_hand(self) -> None:
        weights = draw_weights(["a", "b", "c"], ["x", "y", "z"])
        assert ratio([1.0, 2.0, 6.0], [1, 1, 1], weights).mean == 3.0
        assert ratio([1.0, 0.0, 1.0], [2, 6, 2], weights).mean == pytest.approx(0.2)

    def test_pairs_are_drawn_with_their_source_and_their_target(self) -> None:
        sources, targets = ["a", "a", "b", "b"], ["x", "y", "x", "y"]
        weights = draw_weights(sources, targets, draws=500)
        # A source drawn twice counts twice for every target: weights are outer products.
        grid = weights.reshape(500, 2, 2)
        assert np.array_equal(grid[:, 0, 0] * grid[:, 1, 1], grid[:, 0, 1] * grid[:, 1, 0])
        assert set(np.unique(weights)) == {0, 1, 2, 4}

    def test_values_of_one_source_alike_make_the_interval_wide(
        self, rng: np.random.Generator
    ) -> None:
        sources = [f"s{n // 10}" for n in range(100)]
        targets = [f"t{n % 10}" for n in range(100)]
        weights = draw_weights(sources, targets)
        per_source = np.repeat(rng.standard_normal(10), 10)
        alike = ratio(list(per_source), [1] * 100, weights)
        unlike = ratio(list(rng.permutation(per_source)), [1] * 100, weights)
        assert alike.high - alike.low > 1.5 * (unlike.high - unlike.low)
        assert alike.low < alike.mean < alike.high

    def test_the_interval_covers_the_truth_as_often_as_it_says(self) -> None:
        covered = 0
        weights = draw_weights([str(n) for n in range(40)], ["t"] * 40, draws=400)
        for seed in range(200):
            values = np.random.default_rng(seed).standard_normal(40)
            found = ratio(list(values), [1] * 40, weights)
            covered += found.low <= 0 <= found.high
        assert 0.88 <= covered / 200 <= 0.99

    def test_unknown_values_are_left_out(self) -> None:
        weights = draw_weights(["a", "b", "c"], ["x", "x", "x"])
        found = ratio([1.0, np.nan, 3.0], [1, 1, 1], weights)
        assert (found.mean, found.count) == (2.0, 2)
        assert np.isnan(ratio([np.nan] * 3, [1, 1, 1], weights).mean)
