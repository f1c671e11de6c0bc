from __future__ import annotations

import json
from pathlib import Path

import pytest

from fast_vc_service.contract import Voice
from fast_vc_service.engine.blend import BlendError, blend_name, is_blend, shares_of, told
from fast_vc_service.engine.catalogue import VoiceCatalogue
from fast_vc_service.engine.uploaded_voices import UploadedVoices
from fast_vc_service.engine.voices import UnknownVoiceError, VoiceStore
from fast_vc_service.models.passthrough.converter import PassthroughConverter

WAVS = Path(__file__).parents[2] / "wavs"


class Weighing(PassthroughConverter):
    """Notes what it is asked to blend."""

    def blend_voices(self, name: str, parts: object) -> Voice:
        self.parts = parts
        return super().blend_voices(name, [])


@pytest.fixture
def converter() -> Weighing:
    return Weighing()


@pytest.fixture
def voices(converter: Weighing, tmp_path: Path) -> VoiceCatalogue:
    clips = VoiceStore(WAVS / "references", converter, None, "alto")
    return VoiceCatalogue(clips, UploadedVoices(tmp_path), converter)


def test_one_blend_has_one_name() -> None:
    name = blend_name({"b": 4, "a": 6.0})
    assert name == blend_name({"a": 0.6, "b": 0.4})
    assert is_blend(name)
    assert told(name) == shares_of(name) == {"a": 0.6, "b": 0.4}
    assert blend_name({"a": 3}) == "a"
    assert told("a") == "a"


def test_shares_are_one_in_all() -> None:
    shares = shares_of(blend_name(dict.fromkeys("abc", 1)))
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-12)
    assert shares["a"] == shares["c"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"),
        ("[1]", "an object"),
        ("{}", "1 to 4 voices, got 0"),
        (json.dumps(dict.fromkeys("abcde", 1)), "got 5"),
        ('{"a": 1, "b": null}', "got NoneType"),
        ('{"a": 1, "b": NaN}', "above 0"),
        ('{"a": 1, "b": Infinity}', "above 0"),
        ('{"a": 1, "b": 0.0001}', r"at least 0\.001"),
    ],
)
def test_what_is_no_blend_says_why(text: str, why: str) -> None:
    with pytest.raises(BlendError, match=why):
        shares_of(text)


def test_a_blend_is_made_of_the_voices_it_names(
    voices: VoiceCatalogue, converter: Weighing
) -> None:
    name = blend_name({"alto": 1, "bass": 3})
    blended = voices.get(name)
    assert blended.name == name
    assert converter.parts == [(voices.get("alto"), 0.25), (voices.get("bass"), 0.75)]


@pytest.mark.parametrize(
    ("name", "unknown"),
    [
        ('{"alto": 0.5, "robot": 0.5}', "robot"),
        ('{"alto": 0.5, "{\\"bass\\": 1}": 0.5}', '{"bass": 1}'),
        ("{alto}", "{alto}"),
    ],
)
def test_an_unknown_voice_in_it_is_unknown(voices: VoiceCatalogue, name: str, unknown: str) -> None:
    with pytest.raises(UnknownVoiceError) as error:
        voices.get(name)
    assert error.value.name == unknown
    assert "alto" in error.value.available


def test_a_blend_of_what_another_key_has_added_is_unknown(
    voices: VoiceCatalogue, converter: Weighing
) -> None:
    from fast_vc_service.audio.files import read_audio

    voices.add("anna", *read_audio(WAVS / "references/alto.wav"), owner="alice")
    name = blend_name({"anna": 1, "bass": 1})
    assert voices.get(name, "alice").name == name
    with pytest.raises(UnknownVoiceError, match="anna"):
        voices.get(name, "bob")
