from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fast_vc_service.audio.files import read_audio
from fast_vc_service.contract import Voice
from fast_vc_service.models.world.voice import Target, blend_voices, make_voice

REFERENCES = Path(__file__).parents[2] / "wavs" / "references"


def test_registers_follow_the_speakers() -> None:
    median_hz = {}
    for name in ("bass", "tenor", "soprano"):
        audio, rate = read_audio(REFERENCES / f"{name}.wav")
        voice = make_voice(name, audio, rate)
        median_hz[name] = math.exp(Target.of(voice).median_log_f0)
        assert all(np.all(np.isfinite(value)) for value in voice.features.values())
    assert 80 < median_hz["bass"] < 100
    assert 110 < median_hz["tenor"] < 150
    assert 210 < median_hz["soprano"] < 260


def test_level_of_the_clip_does_not_matter() -> None:
    audio, rate = read_audio(REFERENCES / "alto.wav")
    loud = make_voice("alto", audio[: 3 * rate], rate)
    quiet = make_voice("alto", (audio[: 3 * rate] * 0.1).astype(np.float32), rate)
    np.testing.assert_allclose(loud.features["spectrum"], quiet.features["spectrum"], atol=0.25)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("short", "lasts 0.50 s"),
        ("silent", "is silent"),
        ("noise", "voiced speech"),
        ("broken", "not finite"),
    ],
)
def test_unfit_clips_are_refused_with_the_reason(kind: str, reason: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    clips = {
        "short": noise[:8_000],
        "silent": noise * np.float32(1e-4),
        "noise": noise,
        "broken": np.where(np.arange(48_000) == 9, np.nan, noise).astype(np.float32),
    }
    with pytest.raises(ValueError, match=reason):
        make_voice("x", clips[kind], 16_000)


def test_voices_of_other_families_are_refused() -> None:
    with pytest.raises(ValueError, match="family 'nano'"):
        Target.of(Voice("x", "nano"))
    with pytest.raises(ValueError, match="make it anew"):
        Target.of(Voice("x", "world", {"register": np.zeros(3)}))


def test_a_blend_lies_between_its_voices() -> None:
    voices = []
    for name in ("bass", "soprano"):
        audio, rate = read_audio(REFERENCES / f"{name}.wav")
        voices.append(make_voice(name, audio[: 3 * rate], rate))
    low, high = map(Target.of, voices)
    made = Target.of(blend_voices("between", [(voices[0], 0.25), (voices[1], 0.75)]))
    assert made.median_log_f0 == pytest.approx(
        0.25 * low.median_log_f0 + 0.75 * high.median_log_f0, abs=1e-5
    )
    np.testing.assert_allclose(made.spectrum, 0.25 * low.spectrum + 0.75 * high.spectrum, atol=1e-4)
    with pytest.raises(ValueError, match="family 'nano'"):
        blend_voices("x", [(voices[0], 0.5), (Voice("x", "nano"), 0.5)])
