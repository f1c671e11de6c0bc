"""Two live channels to one: what holds of files holds without the future, and without delay."""

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

from fast_vc_service.audio.live_mixdown import FADE_S, LiveMixdown
from fast_vc_service.contract import FloatArray

PACKET = RATE // 50


def mixed(left: FloatArray, right: FloatArray, packet: int = PACKET) -> FloatArray:
    audio = np.stack([left, right], 1).astype(np.float32)
    mixdown = LiveMixdown(RATE)
    cuts = [*range(0, len(audio), packet), len(audio)]
    pieces = [mixdown.push(audio[start:stop]) for start, stop in pairwise(cuts)]
    return np.concatenate([np.zeros(0, np.float32), *pieces])


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
    check(mixed(right, left), left, right)


def test_one_channel_twice_comes_out_as_it_is() -> None:
    assert np.array_equal(mixed(speech(MAN), speech(MAN)), speech(MAN))


@pytest.mark.parametrize(
    "other", [SILENCE, np.full_like(SILENCE, 0.3), hum(-12), hum(-12, 60), noise(-25), noise(-40)]
)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_no_speech_never_wins(other: FloatArray, first: bool) -> None:
    said = speech(MAN)
    out = mixed(other, said) if first else mixed(said, other)
    # By then it is known for what it is: nothing was said in the first 0.45 s.
    known = slice(6 * RATE // 10, None)
    check(out[known], said[known])
    assert np.abs(out - said)[known].max() < 0.02


def test_a_dead_channel_costs_nothing_from_the_first_sample() -> None:
    said = speech(MAN)
    assert np.array_equal(mixed(said, SILENCE), said)
    assert np.array_equal(mixed(SILENCE, said), said)


def test_opposite_phase_is_heard_from_the_first_sample() -> None:
    said = speech(MAN)
    assert np.abs(np.abs(mixed(said, -said)) - np.abs(said)).max() < 1e-6


def test_of_a_call_both_talkers_are_kept() -> None:
    turn = (np.arange(SECONDS * RATE) // RATE) % 2
    left, right = speech(MAN) * (turn == 0), speech(WOMAN) * (turn == 1)
    out = mixed(left, right)
    check(out, left, right)
    for talker, own in ((left, turn == 0), (right, turn == 1)):
        assert speech_level(out[own]) == pytest.approx(speech_level(talker[own]), abs=2.0)
    both = mixed(speech(MAN), speech(WOMAN))
    check(both, speech(MAN), speech(WOMAN))


def test_who_has_not_spoken_yet_is_heard_with_the_first_word() -> None:
    left = speech(MAN).copy()
    left[4 * RATE :] = 0.0
    right = speech(WOMAN).copy()
    right[: 4 * RATE] = 0.0
    out = mixed(left, right)
    onset = np.flatnonzero(np.abs(right) > 0.02)[0]
    # In full after the fade, and at half or more of it before.
    word = slice(onset + round(FADE_S * RATE), onset + RATE)
    heard = float(out[word] @ right[word] / (right[word] @ right[word]))
    assert heard == pytest.approx(1.0, abs=0.2)
    begun = slice(onset, onset + round(FADE_S * RATE))
    assert np.square(out[begun]).sum() > 0.05 * np.square(right[begun]).sum()


def test_a_change_is_cross_faded() -> None:
    """A channel that dies in mid-speech: the other comes in its place, not faster than a fade."""
    said = speech(MAN)
    left = said.copy()
    left[2 * RATE :] = 0.0
    gains = LiveMixdown(RATE)
    out = np.concatenate(
        [
            gains.push(np.stack([left, 0.9 * said], 1)[start : start + PACKET])
            for start in range(0, len(said), PACKET)
        ]
    )
    assert np.array_equal(out[: 2 * RATE], said[: 2 * RATE])
    after = 2 * RATE + RATE // 10 + round(FADE_S * RATE) + PACKET
    check(out[after:], (0.9 * said)[after:])
    loud = 2 * RATE + np.flatnonzero(np.abs(said[2 * RATE :]) > 0.01)
    gain = out[loud] / said[loud]
    assert np.all(np.abs(np.diff(gain)) <= 1.01 * np.diff(loud) / (FADE_S * RATE) + 1e-4)


@pytest.mark.parametrize("packet", [40, 80, 160, 640, 960, 1920])
def test_packets_of_any_length(packet: int) -> None:
    said = speech(MAN)
    check(mixed(said, -said, packet), said)
    check(mixed(SILENCE, said, packet), said)
    check(mixed(said, speech(WOMAN), packet), said, speech(WOMAN))


@pytest.mark.parametrize("samples", [0, 1, 10, 1_000])
def test_short_streams(samples: int) -> None:
    left = noise(-20)[:samples]
    out = mixed(left, -left)
    assert len(out) == samples
    assert np.abs(np.abs(out) - np.abs(left)).max(initial=0.0) < 1e-6


@pytest.mark.parametrize("rate", [8_000, 12_000, 24_000, 44_100, 48_000])
def test_every_rate(rate: int) -> None:
    time_s = np.arange(rate) / rate
    tone = (0.3 * np.sin(2 * np.pi * 300 * time_s) * (time_s % 0.4 < 0.2)).astype(np.float32)
    mixdown = LiveMixdown(rate)
    step = rate // 50
    both = np.stack([tone, -tone], 1)
    out = np.concatenate([mixdown.push(both[at : at + step]) for at in range(0, rate, step)])
    assert np.abs(np.abs(out) - np.abs(tone)).max() < 1e-6
