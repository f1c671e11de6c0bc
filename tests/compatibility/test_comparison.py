"""That what is compared with a recording can fail, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.compatibility.comparison import differences
from tests.compatibility.fingerprint import distance, fingerprint
from tests.compatibility.judgement import Judge
from tests.compatibility.schema_fields import fields

RATE = 16_000
RECORDED = {"type": "ready", "limits": {"bytes": 1, "s": 2.0}, "list": [1, 2], "on": True}


def noise(seconds: float = 2.0, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    return (0.1 * random.standard_normal(round(seconds * RATE))).astype(np.float32)


def described(audio: Any, sha256: str) -> dict[str, Any]:
    return {
        "samples": len(audio),
        "sha256": sha256,
        "fingerprint": fingerprint(audio, RATE),
    }


def test_additions_are_no_difference() -> None:
    limits = {"bytes": 1, "s": 2.0, "more": 3}
    assert differences(RECORDED, {**RECORDED, "label": "x", "limits": limits}) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"type": "Ready"}, "/type"),
        ({"limits": {"bytes": 1}}, "/limits/s"),
        ({"limits": {"bytes": 1, "s": 2}}, "/limits/s"),
        ({"list": [1, 2, 3]}, "/list"),
        ({"list": [2, 1]}, "/list/0"),
        ({"on": 1}, "/on"),
        ({"on": None}, "/on"),
    ],
)
def test_changes_and_removals_are_named(change: dict[str, Any], place: str) -> None:
    found = differences(RECORDED, {**RECORDED, **change})
    assert found
    assert found[0].startswith((f"{place}: ", f"{place}/"))


def test_on_the_same_kind_of_cpu_the_hash_counts() -> None:
    judge = Judge({"cpu": "a"}, {"cpu": "a"})
    audio = described(noise(), "one")
    assert judge.differences(audio, audio, "clip") == []
    (line,) = judge.differences(audio, {**audio, "sha256": "other"}, "clip")
    assert "another hash" in line
    assert judge.used == {"hash": 1}


def test_on_another_cpu_what_sounds_the_same_is_the_same() -> None:
    judge = Judge({"cpu": "a"}, {"cpu": "b"})
    audio = noise()
    rounded = audio + np.float32(1e-5) * noise(seed=1)
    assert judge.differences(described(audio, "one"), described(rounded, "two"), "clip") == []
    assert judge.used == {"fingerprint": 1}
    assert "fingerprints count" in judge.summary("clips")


@pytest.mark.parametrize(
    "changed",
    [
        lambda audio: audio * np.float32(1.01),
        lambda audio: np.roll(audio, 80),
        lambda audio: np.concatenate([audio[:16_000], audio[16_000:16_400] * 0, audio[16_400:]]),
        lambda audio: np.convolve(audio, [1, 0.05], "same").astype(np.float32),
        lambda audio: audio[:-1],
    ],
)
def test_on_another_cpu_what_sounds_different_differs(changed: Any) -> None:
    judge = Judge({"cpu": "a"}, {"cpu": "b"})
    audio = noise()
    assert judge.differences(described(audio, "one"), described(changed(audio), "two"), "clip")


def test_fingerprints_of_other_lengths_are_apart() -> None:
    assert distance(fingerprint(noise(), RATE), fingerprint(noise(3.0), RATE)).mean_db == np.inf


def test_a_schema_may_be_written_otherwise_but_not_say_less() -> None:
    one = {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": ["string", "null"]}, "b": {"const": 1}},
    }
    document = {"x": {"y": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}
    other = {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"$ref": "#/x/y"}, "b": {"enum": [1]}, "c": {"type": "number"}},
    }
    assert differences(fields(one, {}), fields(other, document)) == []
    for less in (
        {**other, "required": []},
        {**other, "properties": {"a": {"$ref": "#/x/y"}}},
        {**other, "properties": {**other["properties"], "a": {"type": "string"}}},
        {**other, "properties": {**other["properties"], "b": {"enum": [2]}}},
    ):
        assert differences(fields(one, {}), fields(less, document))
