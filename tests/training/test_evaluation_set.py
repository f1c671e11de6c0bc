from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from training.data.packages import PACKAGES
from training.data.repositories import REPOSITORIES
from training.evaluation import clips
from training.evaluation.clips import Clip, EvaluationSetError, Library


def manifest() -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    return [
        {
            "file": f"audio/{speaker}/{number}.flac",
            "name": f"{speaker}/{number}.wav",
            "origin": "some-package",
            "speaker": speaker,
            "sex": "f",
            "language": speaker[:2],
            "licence": "CC0",
            "split": split,
            "samples": int(rng.uniform(1.0, 9.0) * clips.SAMPLE_RATE_HZ),
        }
        for speaker in {*clips.SOURCES, *clips.REFERENCES}
        for number, split in enumerate(["eval"] * 12 + ["train"] * 3)
    ]


@pytest.fixture(scope="module")
def shipped() -> list[Clip]:
    return clips.load()


class TestTheShippedSet:
    def test_has_enough_of_both_sexes_and_several_languages(self, shipped: list[Clip]) -> None:
        for role in ("source", "reference"):
            sexes = [clip.sex for clip in shipped if clip.role == role]
            assert len(sexes) >= 8
            assert sexes.count("f") == sexes.count("m")
        assert len({clip.language for clip in shipped if clip.role == "source"}) >= 5

    def test_uses_no_package_that_training_hears(self, shipped: list[Clip]) -> None:
        uses = {source.origin: source.use for source in PACKAGES}
        assert {uses[package] for clip in shipped for package, _ in clip.recordings} == {"eval"}

    def test_uses_no_recording_twice(self, shipped: list[Clip]) -> None:
        recordings = [recording for clip in shipped for recording in clip.recordings]
        assert len(recordings) == len(set(recordings))

    def test_pairs_are_of_different_persons_and_the_target_is_the_reference_speaker(
        self, shipped: list[Clip]
    ) -> None:
        pairs = clips.pairs(shipped)
        assert len(pairs) >= 64
        assert len({pair.name for pair in pairs}) == len(pairs)
        for pair in pairs:
            assert pair.source.person != pair.reference.person
            assert pair.target.speaker == pair.reference.speaker
            assert pair.target.role == "target"
            assert pair.other.person not in {pair.source.person, pair.reference.person}

    def test_the_first_pairs_are_already_varied(self, shipped: list[Clip]) -> None:
        first = clips.pairs(shipped)[:16]
        assert len({pair.source.name for pair in first}) >= 8
        assert len({pair.reference.name for pair in first}) >= 7


class TestTheSecondSet:
    def test_is_64_pairs_of_people_whom_no_training_hears(self) -> None:
        second = clips.load(clips.DRAWS["second"].path)
        assert len(clips.pairs(second)) == 64
        heard = {clip.speaker for name in ("evaluation", "development") for clip in drawn(name)}
        assert not heard & {clip.speaker for clip in second}
        uses = {(each.origin, each.use) for each in REPOSITORIES}
        for clip in second:
            for origin, name in clip.recordings:
                held_out = clip.speaker.startswith("speechocean")
                assert held_out or (origin, "eval") in uses, name

    def test_has_children_mandarin_and_amharic(self) -> None:
        second = drawn("second")
        assert {clip.language for clip in second if clip.role == "source"} == {"en", "zh", "am"}
        assert {"speechocean-3014", "speechocean-1447"} <= {clip.speaker for clip in second}


def drawn(name: str) -> list[Clip]:
    return clips.load(clips.DRAWS[name].path)


class TestDrawing:
    def test_is_a_function_of_the_seed(self) -> None:
        entries = manifest()
        first = clips.choose(entries, 5)
        assert clips.choose(list(reversed(entries)), 5) == first
        assert clips.choose(entries, 6) != first

    def test_lengths_are_kept_and_only_held_out_recordings_are_used(self) -> None:
        entries = {entry["name"]: entry for entry in manifest()}
        for clip in clips.choose(entries.values(), 5):
            used = [entries[name] for _, name in clip.recordings]
            assert {entry["split"] for entry in used} == {"eval"}
            seconds = sum(entry["samples"] for entry in used) / clips.SAMPLE_RATE_HZ
            low, high = {"source": (3, 8), "reference": (5.5, 12), "target": (4.5, 12)}[clip.role]
            assert low <= seconds <= high

    def test_too_little_speech_is_an_error_that_names_the_speaker(self) -> None:
        entries = [entry for entry in manifest() if entry["speaker"] != "fr-june"]
        with pytest.raises(EvaluationSetError, match="fr-june"):
            clips.choose(entries, 5)
        short = [{**entry, "samples": 8000} for entry in manifest()]
        with pytest.raises(EvaluationSetError, match="too few or too short"):
            clips.choose(short, 5)

    def test_a_saved_set_is_read_back(self, tmp_path: Path) -> None:
        chosen = clips.choose(manifest(), 5)
        clips.save(chosen, tmp_path / "set.json")
        assert clips.load(tmp_path / "set.json") == chosen


class TestLibrary:
    def test_joins_recordings_with_a_pause(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            soundfile.write(tmp_path / f"{name}.flac", np.full(1600, 0.25), 16_000)
        entries = [{"origin": "p", "name": name, "file": f"{name}.flac"} for name in ("a", "b")]
        lines = "".join(json.dumps(entry) + "\n" for entry in entries)
        (tmp_path / "manifest.jsonl").write_text(lines)
        clip = Clip("c", "reference", "s", "s", "f", "en", "CC0", (("p", "a"), ("p", "b")))
        speech = Library(tmp_path).read(clip)
        assert len(speech) == 1600 + 4000 + 1600
        assert not speech[1600:5600].any()
        assert speech[0] == speech[-1] == pytest.approx(0.25, abs=1e-4)

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(EvaluationSetError, match=r"training\.data real"):
            Library(tmp_path)
        (tmp_path / "manifest.jsonl").write_text("")
        clip = Clip("c", "source", "s", "s", "f", "en", "CC0", (("p", "a.wav"),))
        with pytest.raises(EvaluationSetError, match=r"p: a\.wav"):
            Library(tmp_path).read(clip)
