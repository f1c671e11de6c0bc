"""What is used of a long clip: the best half minute of whoever speaks most."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import FloatArray, Voice
from fast_vc_service.voices import front_end, voice_file
from fast_vc_service.voices.clip_check import ClipCheck, check_clip
from fast_vc_service.voices.excerpt import best_excerpt

SOURCES = Path(__file__).parents[2] / "wavs" / "sources"
RATE = 16_000


def speech(name: str, seconds: float) -> FloatArray:
    audio, rate = read_audio(SOURCES / f"{name}.wav")
    return np.resize(resample(audio, rate, RATE), round(seconds * RATE))


@pytest.fixture(scope="module")
def long_clip() -> FloatArray:
    """Silence, noisy speech, somebody else, clear speech, clipped speech: 30, 20, 15, 36, 20 s."""
    noisy = speech("female-narration-44k1", 20)
    noisy = noisy + 0.02 * np.random.default_rng(0).standard_normal(len(noisy))
    clear = speech("female-narration-44k1", 36)
    clipped = np.clip(30 * speech("female-narration-44k1", 20), -1, 1)
    parts = [np.zeros(30 * RATE), noisy, speech("low-pitched-male-24k", 15), clear, clipped]
    return np.concatenate(parts).astype(np.float32)


def test_a_short_clip_is_used_as_it_is() -> None:
    clip = speech("british-male-16k", 8)
    excerpt = best_excerpt(clip, RATE)
    assert excerpt.audio is clip
    assert excerpt.spans_s == ((0.0, 8.0),)


def test_the_clearest_speech_of_who_speaks_most_is_used(long_clip: FloatArray) -> None:
    excerpt = best_excerpt(long_clip, RATE)
    assert 24 <= len(excerpt.audio) / RATE <= 30
    assert all(first >= 63 and last <= 102 for first, last in excerpt.spans_s)
    assert list(excerpt.spans_s) == sorted(excerpt.spans_s)
    assert np.abs(excerpt.audio).max() < 0.999
    again = best_excerpt(long_clip, RATE)
    assert np.array_equal(excerpt.audio, again.audio)


def test_the_check_looks_at_that_and_says_what_it_took(long_clip: FloatArray) -> None:
    check = check_clip(long_clip, RATE)
    assert check.problems == ()
    assert check.duration_s == 121
    assert check.clipped_share == 0
    assert check.speaker_similarity is not None
    assert check.speaker_similarity > 0.4
    assert check.used_s == best_excerpt(long_clip, RATE).spans_s
    assert ClipCheck.from_json(check.as_json()) == check


def test_a_long_silence_stays_silence() -> None:
    excerpt = best_excerpt(np.zeros(40 * RATE, np.float32), RATE)
    assert len(excerpt.audio) == 30 * RATE
    assert not excerpt.audio.any()


def test_a_voice_made_with_another_front_end_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "voice.safetensors"
    voice_file.save_voice(path, Voice("x", "world", {"a": np.zeros(2, np.float32)}))
    made_with = front_end.made_with("world")
    assert voice_file.load_voice(path, made_with).name == "x"
    assert made_with != front_end.made_with("nano")
    with pytest.raises(ValueError, match="another front end"):
        voice_file.load_voice(path, "older")
