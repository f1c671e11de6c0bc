from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fast_vc_service.models.nano import excitation
from fast_vc_service.models.nano.envelope import BANDS, FLOOR, HOP_SAMPLES, SAMPLE_RATE_HZ, envelope
from fast_vc_service.models.nano.vocoder import (
    DELAY_SAMPLES,
    FILTER_FFT,
    Vocoder,
    VocoderConfig,
    hold_f0,
    minimum_phase,
)
from tests.models import nano_networks

FRAMES = 40


@pytest.fixture
def vocoder() -> Vocoder:
    torch.manual_seed(3)
    return nano_networks.vocoder()


def inputs(rows: int = 2) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(4)
    envelopes = torch.randn(rows, FRAMES, BANDS, generator=rng) * 0.3 - 4
    f0 = 120 + 60 * torch.rand(rows, FRAMES, generator=rng)
    voicing = (torch.rand(rows, FRAMES, generator=rng) > 0.3).float()
    noise = torch.stack([excitation.noise(row, 0, FRAMES) for row in range(rows)])
    return envelopes, f0, voicing, noise


def in_pieces(vocoder: Vocoder, sizes: list[int], parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
    state, out, at = vocoder.new_state(len(parts[0])), [], 0
    for size in sizes:
        end = at + size
        noise = parts[3][:, at * HOP_SAMPLES : end * HOP_SAMPLES]
        sound, state = vocoder.stream(*(part[:, at:end] for part in parts[:3]), noise, state)
        out.append(sound)
        at = end
    return torch.cat(out, 1)


def test_any_chunking_sounds_the_same(vocoder: Vocoder) -> None:
    parts = inputs()
    whole = in_pieces(vocoder, [FRAMES], parts)
    assert whole.std() > 0.01
    for sizes in ([1] * FRAMES, [2, 7, 1, 20, 10]):
        assert torch.allclose(in_pieces(vocoder, sizes, parts), whole, atol=1e-5)


def test_offline_is_streaming_without_the_delay(vocoder: Vocoder) -> None:
    parts = inputs()
    offline = vocoder(*parts)
    streamed = in_pieces(vocoder, [FRAMES], parts)[:, DELAY_SAMPLES:]
    assert torch.allclose(offline[:, : streamed.shape[1]], streamed, atol=1e-5)


def test_nothing_is_heard_of_frames_beyond_the_delay(vocoder: Vocoder) -> None:
    parts = inputs(1)
    changed = tuple(part.clone() for part in parts)
    changed[0][:, 20:] += 1.0
    changed[1][:, 20:] *= 1.5
    one, two = vocoder(*parts), vocoder(*changed)
    first = int((one != two).nonzero()[0, 1])
    # Frame 19 already hears the look-ahead of one frame, and its window starts a hop earlier.
    assert 20 * HOP_SAMPLES - DELAY_SAMPLES - 1 <= first <= 20 * HOP_SAMPLES


def test_rows_do_not_hear_each_other(vocoder: Vocoder) -> None:
    parts = inputs()
    other = tuple(part.clone() for part in parts)
    other[0][1] += 2.0
    assert torch.equal(vocoder(*parts)[0], vocoder(*other)[0])


def test_silence_in_silence_out() -> None:
    torch.manual_seed(0)
    fresh = Vocoder(VocoderConfig(width=32, blocks=2)).eval()
    silence = torch.full((1, FRAMES, BANDS), math.log(FLOOR))
    sound = fresh(silence, torch.zeros(1, FRAMES), torch.zeros(1, FRAMES), inputs(1)[3])
    assert sound.abs().max() < 1e-3


def test_an_envelope_is_spoken_where_it_stands() -> None:
    torch.manual_seed(0)
    fresh = Vocoder(VocoderConfig(width=32, blocks=2)).eval()
    envelopes = torch.full((1, FRAMES, BANDS), math.log(FLOOR))
    envelopes[:, 20] = -3.0
    sound = fresh(envelopes, torch.zeros(1, FRAMES), torch.zeros(1, FRAMES), inputs(1)[3])
    power = sound[0].reshape(FRAMES, HOP_SAMPLES).square().mean(1)
    assert int(power.argmax()) == 20
    assert power[19] < power[20] / 5


@pytest.mark.parametrize("f0_hz", [55.0, 110.0, 333.3, 790.0])
def test_pulses_have_unit_power_and_the_right_pitch(f0_hz: float) -> None:
    hops = 50
    f0 = torch.full((1, hops), f0_hz)
    train, phase = excitation.pulses(f0[:, 0], f0, torch.zeros(1, dtype=torch.float64))
    assert float(train.square().mean()) == pytest.approx(1.0, abs=0.1)
    cycles = f0_hz * hops * HOP_SAMPLES / SAMPLE_RATE_HZ
    apart = float(phase) - cycles
    assert abs(apart - round(apart)) < 1e-4
    spectrum = np.abs(np.fft.rfft(train[0].numpy() * np.hanning(train.shape[1])))
    bins = np.fft.rfftfreq(train.shape[1], 1 / SAMPLE_RATE_HZ)
    first = bins[: int(1.5 * f0_hz / bins[1])][spectrum[: int(1.5 * f0_hz / bins[1])].argmax()]
    assert first == pytest.approx(f0_hz, abs=2 * bins[1])
    off = np.abs(bins / f0_hz - np.round(bins / f0_hz)) * f0_hz > 4 * bins[1]
    assert spectrum[off].max() < spectrum.max() / 50  # nothing folds back


def test_a_glide_has_no_jumps() -> None:
    f0 = torch.linspace(100, 240, 60)[None]
    train, _ = excitation.pulses(f0[:, 0], f0, torch.zeros(1, dtype=torch.float64))
    halves, phase = [], torch.zeros(1, dtype=torch.float64)
    before = f0[:, 0]
    for part in f0.split(7, 1):
        piece, phase = excitation.pulses(before, part, phase)
        before = part[:, -1]
        halves.append(piece)
    assert torch.allclose(torch.cat(halves, 1), train, atol=1e-4)


def test_noise_depends_on_seed_and_frame_alone() -> None:
    whole = excitation.noise(5, 100, 6)
    assert torch.equal(torch.cat([excitation.noise(5, 100, 2), excitation.noise(5, 102, 4)]), whole)
    assert not torch.equal(excitation.noise(6, 100, 6), whole)
    many = excitation.noise(1, 0, 200)
    assert abs(float(many.mean())) < 0.02
    assert float(many.var()) == pytest.approx(1.0, abs=0.03)


def test_f0_is_held_through_unvoiced_frames() -> None:
    f0 = torch.tensor([[0.0, 200.0, 0.0, 90.0, 300.0]])
    voicing = torch.tensor([[0.0, 1.0, 0.0, 0.2, 1.0]])
    held = hold_f0(f0, voicing, torch.tensor([150.0]))
    assert held.tolist() == [[150.0, 200.0, 200.0, 200.0, 300.0]]


def test_minimum_phase_is_causal() -> None:
    gain = torch.randn(1, FILTER_FFT // 2 + 1, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.avg_pool1d(gain[None], 41, 1, 20)[0]
    response = torch.fft.irfft(torch.polar(torch.exp(smooth), minimum_phase(smooth)), FILTER_FFT)
    early, late = response[0, :384].square().sum(), response[0, 384:].square().sum()
    assert late < 1e-3 * early


def test_the_envelope_of_a_vowel_does_not_see_its_pitch() -> None:
    time = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ

    def vowel(f0_hz: float) -> np.ndarray:
        harmonics = np.arange(1, int(10_000 / f0_hz))
        gains = np.exp(-(((harmonics * f0_hz - 900) / 700) ** 2)) + 0.05
        waves = [
            g * np.cos(2 * np.pi * h * f0_hz * time) for h, g in zip(harmonics, gains, strict=True)
        ]
        return (0.05 * np.sqrt(f0_hz / 100) * np.sum(waves, 0)).astype(np.float32)

    low, high = (envelope(vowel(f0), np.full(100, f0, np.float32))[50] for f0 in (110.0, 200.0))
    assert np.abs(low - high).mean() < 0.35
    assert np.argmax(low) == pytest.approx(np.argmax(high), abs=2)
