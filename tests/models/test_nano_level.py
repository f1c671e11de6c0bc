"""How loud a source is, and speech made as loud as it, on signals whose level is known."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from fast_vc_service.models.nano import envelope, level, spectrum, vocoder
from fast_vc_service.models.nano.level import NEUTRAL, LevelState

DELAY_FRAMES = 6
FRAMES = 120


def fresh(rows: int = 1) -> LevelState:
    one = level.new_state(DELAY_FRAMES, torch.device("cpu"))
    return LevelState(*(getattr(one, each.name).repeat_interleave(rows, 0) for each in fields(one)))


def same(one: LevelState, other: LevelState) -> bool:
    return all(
        torch.allclose(getattr(one, each.name), getattr(other, each.name), rtol=1e-5)
        for each in fields(one)
    )


def tone(frames: int, hop: int, db: float) -> Tensor:
    """[1, samples] of a sine of 100 Hz at a level."""
    times = torch.arange(frames * hop) / (100 * hop)
    return math.sqrt(2) * 10 ** (db / 20) * torch.sin(2 * math.pi * 100 * times)[None]


def db(samples: Tensor) -> float:
    return float(10 * torch.log10(samples.square().mean()))


def test_the_speech_level_is_the_mean_of_voiced_frames_however_they_are_cut() -> None:
    energy = torch.linspace(-5.0, -3.0, FRAMES)[None]
    voiced = torch.arange(FRAMES)[None] % 3 == 0
    whole, after = level.follow(fresh(), energy, voiced)
    state = fresh()
    for first in range(0, FRAMES, 8):
        piece = slice(first, first + 8)
        parts, state = level.follow(state, energy[:, piece], voiced[:, piece])
    assert same(after, state)
    assert parts.item() == pytest.approx(whole.item(), abs=1e-5)
    # The neutral level weighs as much as a few of the 40 frames.
    assert whole.item() == pytest.approx(energy[voiced].mean().item(), abs=0.2)
    unheard, untaught = level.follow(fresh(), energy, torch.zeros(1, FRAMES, dtype=torch.bool))
    assert unheard.item() == pytest.approx(NEUTRAL)
    assert same(untaught, fresh())


@pytest.mark.parametrize("off_db", [-15.0, -6.0, 0.0, 10.0])
@pytest.mark.parametrize("frames", [4, 8, 60])
def test_speech_becomes_as_loud_as_its_source(off_db: float, frames: int) -> None:
    source = tone(FRAMES, spectrum.HOP_SAMPLES, -23)
    made = tone(FRAMES, envelope.HOP_SAMPLES, -23 + off_db)
    voiced = torch.ones(1, frames, dtype=torch.bool)
    state, out = fresh(), []
    for first in range(0, FRAMES, frames):
        heard, said = (
            each[:, first * hop : (first + frames) * hop]
            for each, hop in ((source, spectrum.HOP_SAMPLES), (made, envelope.HOP_SAMPLES))
        )
        matched, state = level.match(state, heard, voiced, said)
        out.append(matched)
    whole = torch.cat(out, 1)
    last = whole[:, -40 * envelope.HOP_SAMPLES :]
    assert db(last) == pytest.approx(-23, abs=0.3 + 0.1 * abs(off_db))
    # No jump from sample to sample that the tone itself does not make.
    assert whole.diff().abs().max() < 1.3 * max(source.diff().abs().max(), made.diff().abs().max())


def test_source_and_output_are_compared_where_they_say_the_same() -> None:
    """The output trails by what the networks and the vocoder take; a burst meets itself."""
    halves = 2 * DELAY_FRAMES + 2 * vocoder.DELAY_SAMPLES // envelope.HOP_SAMPLES
    source = torch.zeros(1, FRAMES * spectrum.HOP_SAMPLES)
    made = torch.zeros(1, FRAMES * envelope.HOP_SAMPLES)
    half_in, half_out = spectrum.HOP_SAMPLES // 2, envelope.HOP_SAMPLES // 2
    source[:, 40 * half_in : 80 * half_in] = tone(20, spectrum.HOP_SAMPLES, -23)
    made[:, (40 + halves) * half_out : (80 + halves) * half_out] = tone(
        20, envelope.HOP_SAMPLES, -33
    )
    voiced = torch.ones(1, FRAMES, dtype=torch.bool)
    _, state = level.match(fresh(), source, voiced, made)
    assert state.heard.item() / state.said.item() == pytest.approx(10.0, rel=0.01)


def test_what_is_not_voiced_teaches_nothing_and_is_not_made_louder() -> None:
    noise = 0.1 * torch.randn(1, FRAMES * spectrum.HOP_SAMPLES)
    made = 0.01 * torch.randn(1, FRAMES * envelope.HOP_SAMPLES)
    out, state = level.match(fresh(), noise, torch.zeros(1, FRAMES, dtype=torch.bool), made)
    assert torch.equal(out, made)
    assert state.matched.item() == 0


def test_a_gap_forgets_what_was_to_come_and_another_voice_how_loud_the_last_was() -> None:
    source = tone(FRAMES, spectrum.HOP_SAMPLES, -23)
    made = tone(FRAMES, envelope.HOP_SAMPLES, -33)
    voiced = torch.ones(1, FRAMES, dtype=torch.bool)
    _, state = level.follow(fresh(), torch.full((1, FRAMES), -5.0), voiced)
    _, state = level.match(state, source, voiced, made)
    after = level.interrupted(state)
    assert not after.late.any()
    assert not after.late_voiced.any()
    assert torch.equal(after.heard, state.heard)
    other = level.of_another_voice(state)
    assert other.matched.item() < 0.1 * state.matched.item()
    assert other.heard / other.said == pytest.approx((state.heard / state.said).item())
    assert torch.equal(other.energy, state.energy)
