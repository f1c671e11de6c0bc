from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from fast_vc_service.contract import FloatArray, Voice
from fast_vc_service.engine.stream import convert_offline
from fast_vc_service.models.seedvc.bigvgan import BigVgan
from fast_vc_service.models.seedvc.hift import HiFT
from fast_vc_service.models.seedvc.model import SeedVcModel
from fast_vc_service.models.seedvc.noise import noise_at
from fast_vc_service.models.seedvc.options import SeedVcOptions
from tests import seedvc_networks
from tests.seedvc_networks import QUICK, converter, model

NAMES = ("tiny", "small", "base")


def noise(seconds: float, rate: int = 16_000, seed: int = 0) -> FloatArray:
    samples = np.random.default_rng(seed).standard_normal(round(seconds * rate))
    return (0.1 * samples).astype(np.float32)


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def voices(name: str) -> tuple[Voice, Voice]:
    maker = model(name)
    return (
        maker.make_voice("one", noise(1.4, 24_000, 1), 24_000),
        maker.make_voice("two", noise(2.0, 44_100, 2), 44_100),
    )


def test_every_voice_has_a_prompt_of_the_same_length(
    name: str, voices: tuple[Voice, Voice]
) -> None:
    preset = seedvc_networks.networks(name).preset
    frames = preset.mel.sample_rate // preset.mel.hop
    for voice in voices:
        assert voice.features["mel"].shape == (preset.mel.bins, frames)
        assert voice.features["condition"].shape == (frames, preset.regulator.channels)
        assert voice.features["style"].shape == (192,)


def test_a_short_or_silent_clip_makes_no_voice(name: str) -> None:
    with pytest.raises(ValueError, match=r"at least 1 s, got 0\.50 s"):
        model(name).make_voice("short", noise(0.5), 16_000)
    with pytest.raises(ValueError, match="got silence"):
        model(name).make_voice("silent", np.zeros(32_000, np.float32), 16_000)


def test_a_batch_equals_each_session_alone(name: str, voices: tuple[Voice, Voice]) -> None:
    """Of the model: given equal windows SOLA decides alike, unless two places are as good."""
    subject = model(name)
    windows = np.stack([noise(1.2, seed=row) for row in range(3)])
    chosen = [voices[0], voices[1], voices[0]]
    memories = [subject.new_memory(voice, 2.0, row) for row, voice in enumerate(chosen)]
    starts = [0, 6400, 320]
    for step in range(2):
        positions = [start + step * 3200 for start in starts]
        together, after = subject.convert(windows, 3200, 480, memories, positions)
        for row in range(3):
            part = slice(row, row + 1)
            alone, [memory] = subject.convert(
                windows[part], 3200, 480, memories[part], positions[part]
            )
            assert np.abs(alone[0] - together[row]).max() < 1e-3
            assert memory.heard == after[row].heard
            assert memory.register == after[row].register
        memories = after


def test_the_same_seed_gives_the_same_audio_and_another_seed_another(
    name: str, voices: tuple[Voice, Voice]
) -> None:
    def run(seed: int) -> FloatArray:
        stream = converter(name)
        state = stream.new_state(voices[0], seed=seed)
        return np.concatenate(
            [stream.step(block[None], [state])[0] for block in noise(0.6).reshape(3, -1)]
        )

    assert np.array_equal(run(1), run(1))
    assert np.abs(run(1) - run(2)).max() > 1e-3


def test_only_the_kept_frames_are_vocoded_and_they_are_as_if_all_were(
    name: str, monkeypatch: pytest.MonkeyPatch, voices: tuple[Voice, Voice]
) -> None:
    options = replace(QUICK, context_ms=1600, dit_context_ms=1600)
    window = noise(2.0)[None]
    vocoder = seedvc_networks.networks(name).vocoder
    vocoded = []
    vocoder.first.register_forward_pre_hook(lambda _, args: vocoded.append(args[0].shape[2]))

    def run(every: bool) -> FloatArray:
        subject = model(name, options)
        if every:
            monkeypatch.setattr(subject, "_tail", lambda _, frames: (frames, frames))
        memory = subject.new_memory(voices[0], 0.0, 1)
        # A second window, so that the phase is carried across the cut.
        _, memories = subject.convert(window, 3200, 480, [memory], [0])
        out, _ = subject.convert(window, 3200, 480, memories, [3200])
        return out[0]

    few, every = run(every=False), run(every=True)
    assert vocoded[0] < vocoded[-1]
    assert np.abs(few).max() > 1e-3
    kept = np.flatnonzero(few)[0]
    assert np.abs(few[kept:] - every[kept:]).max() < 1e-3


def test_the_harmonic_phase_goes_on_where_the_block_before_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At a constant F0 the phase at the joins advances by F0 times the time between them."""
    subject = model("tiny")
    vocoder = subject.networks.vocoder
    assert isinstance(vocoder, HiFT)
    monkeypatch.setattr(vocoder, "f0", lambda mel: torch.full((1, mel.shape[2]), 203.0))
    memory = subject.new_memory(subject.make_voice("one", noise(1.0), 16_000), 0.0, 7)
    window = noise(1.0)[None]
    joins = []
    for step in range(4):
        _, [memory] = subject.convert(window, 3200, 480, [memory], [3200 * step])
        joins.append((memory.heard, memory.cycles))
    for (before, phase), (after, later) in itertools.pairwise(joins):
        assert before is not None
        assert after is not None
        assert after - before == 3200 * 441 // 320
        off = (later - phase - 203.0 * 0.2 + 0.5) % 1.0 - 0.5
        assert abs(off) < 1e-3


@pytest.mark.parametrize("seed", [0, 2**63])
def test_noise_belongs_to_its_place(seed: int) -> None:
    whole = noise_at(seed, -300, 900, 80)
    assert np.array_equal(whole[:, 250:600], noise_at(seed, -50, 350, 80))
    assert abs(float(whole.std()) - 1.0) < 0.02
    assert not np.array_equal(whole, noise_at(seed + 1, -300, 900, 80))
    assert abs(np.corrcoef(whole[0, :300], whole[0, 300:600])[0, 1]) < 0.25


def test_the_options_refuse_what_the_geometry_cannot_do() -> None:
    with pytest.raises(ValueError, match="context_ms: expected a multiple of 20"):
        SeedVcOptions(context_ms=2510)
    with pytest.raises(ValueError, match="dit_context_ms: expected at most"):
        SeedVcOptions(dit_context_ms=3000)


def test_the_delay_is_that_of_the_published_program() -> None:
    stream = converter("tiny", SeedVcOptions(steps=1), block_ms=180)
    # Cross-fade 40, search 20 and look-ahead 20 ms.
    assert stream.delay == 16 * 80
    assert stream.block == 16 * 180


def test_loudness_follows_the_source_when_asked(voices: tuple[Voice, Voice], name: str) -> None:
    stream = converter(name, replace(QUICK, loudness_mix=1.0))
    audio = noise(1.6)
    audio[:12_800] *= 0.02
    out = convert_offline(stream, voices[0], audio, 16_000, 16_000)
    assert out[14_000:].std() > 5 * out[4000:11_000].std()


def test_bigvgan_declares_at_least_its_receptive_field() -> None:
    network = seedvc_networks.networks("small").vocoder
    assert isinstance(network, BigVgan)
    frames = 2 * network.config.receptive + 8
    mel = torch.randn(1, 80, frames, generator=torch.Generator().manual_seed(0))
    changed = mel.clone()
    changed[:, :, 0] += 1.0
    with torch.no_grad():
        difference = (network(mel) - network(changed)).abs()[0]
    reach = (int(difference.nonzero().max()) + network.config.hop) // network.config.hop
    assert reach <= network.config.receptive + 1
    assert reach > network.config.receptive // 2


@torch.no_grad()
def test_bigvgan_drops_on_the_way_only_what_nobody_hears() -> None:
    network = seedvc_networks.networks("small").vocoder
    assert isinstance(network, BigVgan)
    kept, generator = 9, torch.Generator().manual_seed(0)
    mel = torch.randn(1, 80, kept + network.config.receptive + 30, generator=generator)
    lengths, unclamped = [], []
    network.blocks[-1].register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[2]))
    network.last.register_forward_hook(lambda _, __, wave: unclamped.append(wave[0, 0]))
    network(mel)
    part = network(mel[:, :, -kept - network.config.receptive :], kept)
    assert part.shape == (1, kept * network.config.hop)
    whole, part = (wave[-kept * network.config.hop :] for wave in unclamped)
    assert (part - whole).abs().max() < 1e-5 * whole.abs().max()
    # Of the receptive field nearly nothing is left in the last and longest stage.
    assert lengths[0] == mel.shape[2] * network.config.hop
    assert lengths[1] < (kept + 3) * network.config.hop


def test_half_precision_stays_close(name: str, voices: tuple[Voice, Voice]) -> None:
    window = noise(1.2)[None]
    mels = {}
    for precision in ("float32", "bfloat16"):
        subject = model(name, replace(QUICK, precision=precision))
        memory = subject.new_memory(voices[0], 0.0, 1)
        mels[precision] = subject._mel(
            torch.from_numpy(window),
            window.shape[1],
            60,
            memories=[memory],
            ends=[20_000],
            f0_hz=None,
        )
    difference = (mels["float32"] - mels["bfloat16"]).square().mean().sqrt()
    assert 0 < difference < 0.05 * mels["float32"].square().mean().sqrt()


@pytest.mark.cuda
def test_cuda_gives_what_the_cpu_gives(name: str, voices: tuple[Voice, Voice]) -> None:
    here = seedvc_networks.networks(name)
    parts = ("content", "regulator", "dit", "speaker", "vocoder", "pitch")
    moved = {part: copy.deepcopy(getattr(here, part)) for part in parts}
    there = replace(here, **{part: network and network.cuda() for part, network in moved.items()})
    window = noise(1.2)[None]
    outs = []
    for networks in (here, there):
        subject = SeedVcModel(networks, QUICK, f"seedvc-{name}")
        memory = subject.new_memory(voices[0], 0.0, 1)
        outs.append(subject.convert(window, 3200, 480, [memory], [0])[0])
    assert np.abs(outs[0] - outs[1]).max() < 1e-3
