from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from loguru import logger

from fast_vc_service.audio.files import read_audio, write_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray
from fast_vc_service.models.passthrough.converter import PassthroughConverter
from fast_vc_service.voices.clip_check import ONE_SPEAKER, check_clip
from fast_vc_service.voices.folder import VoiceStore

REFERENCES = Path(__file__).parents[2] / "wavs" / "references"


def clip(name: str, seconds: float) -> FloatArray:
    audio, rate = read_audio(REFERENCES / f"{name}.wav")
    return resample(audio, rate, SAMPLE_RATE_IN)[: round(seconds * SAMPLE_RATE_IN)]


@pytest.mark.parametrize("name", ["bass", "soprano", "ref-24k"])
def test_one_speaker_is_like_himself(name: str) -> None:
    check = check_clip(clip(name, 9.0), SAMPLE_RATE_IN)
    assert check.speaker_similarity is not None
    assert check.speaker_similarity > ONE_SPEAKER
    assert check.problems == check.warnings == ()


def test_two_speakers_are_told_apart() -> None:
    both = np.concatenate([clip("bass", 5.0), clip("soprano", 5.0)])
    check = check_clip(both, SAMPLE_RATE_IN)
    assert check.speaker_similarity is not None
    assert check.speaker_similarity < ONE_SPEAKER
    (warning,) = check.warnings
    assert "more than one person" in warning


def test_a_clip_too_short_to_compare_raises_no_warning_about_its_speaker() -> None:
    check = check_clip(clip("bass", 4.0), SAMPLE_RATE_IN)
    assert check.speaker_similarity is None
    assert not any("person" in warning for warning in check.warnings)


def test_short_clipped_noisy_clips_are_named() -> None:
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE_IN)
    worse = np.clip(20 * clip("bass", 2.0) + 0.2 * noise, -1, 1).astype(np.float32)
    found = " ".join(
        check_clip(worse, SAMPLE_RATE_IN).warnings + check_clip(worse, 16_000).problems
    )
    for word in ("2.0 s", "clipped"):
        assert word in found


def test_a_clip_of_the_folder_is_checked_when_a_voice_is_made_of_it_and_once(
    tmp_path: Path,
) -> None:
    both = np.concatenate([clip("bass", 5.0), clip("soprano", 5.0)])
    write_audio(tmp_path / "pair.wav", both, SAMPLE_RATE_IN)
    logged: list[str] = []
    sink = logger.add(lambda line: logged.append(str(line)), level="WARNING")
    for _ in range(2):
        store = VoiceStore(
            tmp_path, PassthroughConverter(), tmp_path / "cache", "pair", checks_clips=True
        )
        store.get("pair")
    logger.remove(sink)
    (line,) = logged
    assert "voice pair: more than one person seems to speak" in line
