"""Mix-down: no channel cancels another, none with speech is lost, and nothing jumps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from two_channels import (
    CORRELATIONS,
    DELAYS_MS,
    GAINS,
    MAN,
    RATE,
    SECONDS,
    SILENCE,
    WOMAN,
    check,
    correlated,
    hum,
    noise,
    said_later,
    speech,
    speech_level,
)

from fast_vc_service.audio.mixdown import MixPlan, mix
from fast_vc_service.contract import FloatArray


def mixed(*channels: FloatArray, cuts: tuple[int, ...] = (RATE,)) -> FloatArray:
    audio = np.stack(channels, 1)
    bounds = [0, *cuts, len(audio)]
    blocks = [audio[start:stop] for start, stop in pairwise(bounds)]
    plan = MixPlan.of(blocks, RATE, audio.shape[1])
    return np.concatenate(list(mix(blocks, plan)))


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_channels_of_any_correlation(correlation: float) -> None:
    left, right = correlated(correlation)
    check(mixed(left, right), left, right)
    check(mixed(right, left), left, right)


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
@pytest.mark.parametrize("gain", GAINS)
def test_the_same_speech_later(delay_ms: float, gain: float) -> None:
    left, right = said_later(delay_ms, gain)
    check(mixed(left, right), left, right)


def test_of_the_same_speech_the_louder_channel_is_taken() -> None:
    left, right = 0.5 * speech(MAN), -speech(MAN)
    assert np.abs(np.abs(mixed(left, right)) - np.abs(right)).max() < 1e-6


@pytest.mark.parametrize(
    "other", [SILENCE, np.full_like(SILENCE, 0.3), hum(-12), hum(-12, 60), noise(-20), noise(-40)]
)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_no_speech_never_wins(other: FloatArray, first: bool) -> None:
    said = speech(MAN)
    out = mixed(other, said) if first else mixed(said, other)
    check(out, said)
    assert np.abs(out - said).max() < 0.02


@pytest.mark.parametrize("place", range(6))
def test_surround_with_speech_in_any_channel(place: int) -> None:
    channels = [noise(-50), noise(-55), noise(-70), hum(-15, 40), SILENCE, SILENCE]
    channels[place] = speech(MAN)
    check(mixed(*channels), speech(MAN))


def test_of_a_call_both_talkers_are_kept() -> None:
    turn = (np.arange(SECONDS * RATE) // RATE) % 2
    left, right = speech(MAN) * (turn == 0), speech(WOMAN) * (turn == 1)
    out = mixed(left.astype(np.float32), right.astype(np.float32))
    check(out, left, right)
    for talker, own in ((left, turn == 0), (right, turn == 1)):
        assert speech_level(out[own]) == pytest.approx(speech_level(talker[own]), abs=2.0)
    both = mixed(speech(MAN), speech(WOMAN))
    check(both, speech(MAN), speech(WOMAN))
    for talker in (speech(MAN), speech(WOMAN)):
        share = float(both @ talker / (talker @ talker))
        assert share == pytest.approx(0.84, abs=0.15)


def test_the_blocks_of_a_file_do_not_matter() -> None:
    one = mixed(speech(MAN), speech(WOMAN))
    other = mixed(speech(MAN), speech(WOMAN), cuts=(100, 5_000, 5_001, 40_000))
    assert np.abs(one - other).max() < 1e-6


@pytest.mark.parametrize("samples", [1, 10, 1_000])
def test_short_clips(samples: int) -> None:
    left = noise(-20)[:samples]
    out = mixed(left, -left, cuts=())
    assert len(out) == samples
    assert np.abs(np.abs(out) - np.abs(left)).max() < 1e-6
