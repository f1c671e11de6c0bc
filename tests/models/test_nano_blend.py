from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import pyworld
import torch

from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import Converter, FloatArray, Voice
from fast_vc_service.models.campplus import load_campplus
from fast_vc_service.models.nano.acoustic import GLOBAL, MEMORY
from fast_vc_service.models.nano.blend import EMBEDDING, blend_voices
from fast_vc_service.models.nano.envelope import BANDS, BANDS_BELOW_7K6
from fast_vc_service.models.nano.load import WEIGHTS
from fast_vc_service.models.nano.voice import MEMORY_FRAMES, Target

WAVS = Path(__file__).parents[2] / "wavs"


def stand_in(name: str, seed: int, frames: int) -> Voice:
    """A voice of random features, of which ``frames`` can be borrowed."""
    rng = np.random.default_rng(seed)
    features = {
        "vector": rng.standard_normal(GLOBAL),
        "content": rng.standard_normal((MEMORY_FRAMES, 96)),
        "envelope": rng.standard_normal((MEMORY_FRAMES, MEMORY)),
        "mask": np.arange(MEMORY_FRAMES) < frames,
        "register": np.array([5.0 + seed]),
        "correction": rng.standard_normal(BANDS),
        "average": rng.standard_normal(BANDS_BELOW_7K6),
    }
    return Voice(name, "nano", {key: value.astype(np.float16) for key, value in features.items()})


def borrowed(blend: Voice, voice: Voice) -> int:
    """Frames of ``blend`` that are ``voice``'s."""
    own = {row.tobytes() for row in voice.features["content"]}
    count = int((blend.features["mask"] > 0).sum())
    return sum(row.tobytes() in own for row in blend.features["content"][:count])


def test_means_lie_between_and_the_embedding_keeps_its_length() -> None:
    first, second = stand_in("a", 0, 400), stand_in("b", 1, 400)
    blend = blend_voices("ab", [(first, 0.25), (second, 0.75)])
    for key in ("register", "correction", "average"):
        expected = 0.25 * first.features[key] + 0.75 * second.features[key]
        np.testing.assert_allclose(blend.features[key], expected, atol=5e-3)
    direction = blend.features["vector"][:EMBEDDING].astype(np.float32)
    assert np.linalg.norm(direction) == pytest.approx(math.sqrt(EMBEDDING), rel=1e-3)
    np.testing.assert_allclose(
        blend.features["vector"][EMBEDDING:],
        0.25 * first.features["vector"][EMBEDDING:] + 0.75 * second.features["vector"][EMBEDDING:],
        atol=5e-3,
    )
    assert Target.of(blend).median_log_f0 == pytest.approx(5.75)


@pytest.mark.parametrize(
    ("held", "expected"),
    [((400, 400), (100, 300)), ((400, 150), (50, 150)), ((40, 400), (40, 120))],
)
def test_frames_are_borrowed_in_proportion(
    held: tuple[int, int], expected: tuple[int, int]
) -> None:
    voices = [stand_in("a", 0, held[0]), stand_in("b", 1, held[1])]
    blend = blend_voices("ab", [(voices[0], 0.25), (voices[1], 0.75)])
    assert tuple(borrowed(blend, voice) for voice in voices) == expected
    assert (blend.features["mask"] > 0).sum() == sum(expected)


def test_a_small_share_lends_at_least_one_frame() -> None:
    voices = [stand_in(name, seed, 400) for seed, name in enumerate("abcd")]
    shares = (0.001, 0.001, 0.001, 0.997)
    blend = blend_voices("abcd", list(zip(voices, shares, strict=True)))
    assert [borrowed(blend, voice) for voice in voices] == [1, 1, 1, 397]


@pytest.mark.slow
def test_a_blend_sounds_the_more_like_a_voice_the_larger_its_share() -> None:
    from fast_vc_service.engine.families import build_converter

    converter = build_converter("nano", geometry="file")
    rate = converter.sample_rate_out
    network = load_campplus(WEIGHTS / "campplus.safetensors")
    voices = []
    for name in ("bass", "alto"):
        audio, clip_rate = read_audio(WAVS / "references" / f"{name}.wav")
        voices.append(converter.make_voice(name, audio, clip_rate))

    def heard(voice: Voice) -> tuple[FloatArray, float]:
        output = convert(converter, voice)
        with torch.no_grad():
            vector = network.embed(torch.from_numpy(resample(output, rate, 16_000))).numpy()
        f0, _ = pyworld.harvest(output.astype(np.float64), rate, f0_floor=60, f0_ceil=600)
        return vector / np.linalg.norm(vector), float(np.median(f0[f0 > 0]))

    low, high = map(heard, voices)
    between = [
        heard(blend_voices("x", [(voices[0], 1 - share), (voices[1], share)]))
        for share in (0.25, 0.5, 0.75)
    ]
    path = [low, *between, high]
    closeness = [float(vector @ high[0] - vector @ low[0]) for vector, _ in path]
    assert closeness == sorted(closeness)
    registers = [f0_hz for _, f0_hz in path]
    assert registers == sorted(registers)


def convert(converter: Converter, voice: Voice) -> FloatArray:
    audio, _ = read_audio(WAVS / "sources/british-male-16k.wav")
    whole = len(audio[:128_000]) // converter.block * converter.block
    state = converter.new_state(voice)
    blocks = audio[:whole].reshape(-1, 1, converter.block)
    return np.concatenate([converter.step(block, [state])[0] for block in blocks])
