from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray
from fast_vc_service.models.campplus import CampPlus, load_campplus
from fast_vc_service.models.nano.doubts import ONE_SPEAKER, doubts, least_alike
from fast_vc_service.models.nano.load import WEIGHTS

WAVS = Path(__file__).parents[2] / "wavs" / "references"


@pytest.fixture(scope="module")
def campplus() -> CampPlus:
    return load_campplus(WEIGHTS / "campplus.safetensors")


def clip(name: str, seconds: float) -> FloatArray:
    audio, rate = read_audio(WAVS / f"{name}.wav")
    return resample(audio, rate, SAMPLE_RATE_IN)[: round(seconds * SAMPLE_RATE_IN)]


@pytest.mark.parametrize("name", ["bass", "soprano", "ref-24k"])
def test_one_speaker_is_like_himself(campplus: CampPlus, name: str) -> None:
    assert least_alike(clip(name, 7.5), campplus) > ONE_SPEAKER


def test_two_speakers_are_told_apart(campplus: CampPlus) -> None:
    both = np.concatenate([clip("bass", 4.0), clip("soprano", 4.0)])
    assert least_alike(both, campplus) < ONE_SPEAKER
    (doubt,) = doubts(both, SAMPLE_RATE_IN, both, 40.0, campplus)
    assert "more than one speaker" in doubt


def test_a_clip_too_short_to_compare_raises_no_doubt(campplus: CampPlus) -> None:
    assert least_alike(clip("bass", 4.0), campplus) == 1.0


def test_short_clipped_noisy_clips_are_named(campplus: CampPlus) -> None:
    loud = np.clip(50 * clip("bass", 2.0), -1, 1)
    found = " ".join(doubts(loud, SAMPLE_RATE_IN, loud, 9.0, campplus))
    for word in ("2.0 s", "clipped", "noisy"):
        assert word in found
    assert doubts(clip("alto", 4.0), SAMPLE_RATE_IN, clip("alto", 4.0), 40.0, campplus) == []
