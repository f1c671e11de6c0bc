from __future__ import annotations

import json
from pathlib import Path

import pytest

from fast_vc_service.contract import Voice
from fast_vc_service.models.passthrough.converter import PassthroughConverter
from fast_vc_service.protocol.voice_choice import (
    Blend,
    BlendError,
    VoiceChoice,
    choose,
    from_text,
    named_by,
    to_json,
    to_text,
)
from fast_vc_service.voices.blend_cache import BlendCache
from fast_vc_service.voices.catalogue import VoiceCatalogue
from fast_vc_service.voices.folder import UnknownVoiceError, VoiceStore
from fast_vc_service.voices.uploads import UploadedVoices

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


def test_equal_blends_are_equal() -> None:
    blend = choose({"b": 4, "a": 6.0})
    assert blend == choose({"a": 0.6, "b": 0.4}) == Blend((("a", 0.6), ("b", 0.4)))
    assert hash(blend) == hash(choose({"a": 0.6, "b": 0.4}))
    assert to_json(blend) == {"a": 0.6, "b": 0.4}
    assert choose({"a": 3}) == to_json("a") == "a"


@pytest.mark.parametrize("choice", ["a", "ref-24k", choose({"a": 1, "b": 2, "é": 3})])
def test_a_choice_survives_as_text(choice: VoiceChoice) -> None:
    assert from_text(to_text(choice)) == choice


def test_shares_are_one_in_all() -> None:
    blend = choose(dict.fromkeys("abc", 1))
    assert isinstance(blend, Blend)
    shares = dict(blend.parts())
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-12)
    assert shares["a"] == shares["c"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"),
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
        from_text(text)
    assert named_by(text) == text


def test_a_blend_is_made_of_the_voices_it_names(
    voices: VoiceCatalogue, converter: Weighing
) -> None:
    voices.get(choose({"alto": 1, "bass": 3}))
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
        voices.get(named_by(name))
    assert error.value.name == unknown
    assert "alto" in error.value.available


def test_a_blend_of_what_another_key_has_added_is_unknown(
    voices: VoiceCatalogue, converter: Weighing
) -> None:
    voices.add("anna", WAVS / "references/alto.wav", max_s=60.0, owner="alice")
    blend = choose({"anna": 1, "bass": 1})
    voices.get(blend, "alice")
    with pytest.raises(UnknownVoiceError, match="anna"):
        voices.get(blend, "bob")


def test_who_chooses_the_same_blend_shares_it(voices: VoiceCatalogue) -> None:
    blend = choose({"alto": 0.25, "bass": 0.75})
    assert voices.get(blend) is voices.get(blend)


def test_the_last_blends_are_kept_and_those_of_other_parts_made_anew() -> None:
    cache = BlendCache(size=2)
    alto, bass, new_bass = (Voice(name, "stub") for name in ("alto", "bass", "bass"))

    def blend(name: str, *parts: Voice) -> Voice:
        return cache.get(Blend(((name, 1.0),)), parts, lambda: Voice(name, "stub"))

    first = blend("a", alto, bass)
    assert blend("a", alto, bass) is first
    second = blend("a", alto, new_bass)
    assert second is not first, "a part was removed and added anew"
    blend("b", alto, bass)
    assert blend("a", alto, new_bass) is second, "used last but one"
    blend("c", alto, bass)
    assert len(cache) == 2
    assert blend("a", alto, new_bass) is second
