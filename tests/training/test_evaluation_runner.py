from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from training.evaluation import report, systems
from training.evaluation.analysis import Analysis, Listeners
from training.evaluation.clips import Clip, Library, pairs
from training.evaluation.runner import Evaluation, MissingPairsError
from training.evaluation.score import score
from training.evaluation.systems import System, UnknownSystemError

FloatArray = NDArray[np.float32]


class FakeListeners(Listeners):
    """Hears a speaker in the level, and says the language."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__("fake", tmp_path / "missing")
        self.heard = 0

    def analyse(self, speech: FloatArray, language: str, borders: list[int]) -> Analysis:
        self.heard += 1
        angle = float(np.abs(speech).max())
        embedding = [float(np.cos(angle)), float(np.sin(angle))]
        f0 = [100.0 + n for n in range(50)]
        return Analysis(embedding, [], f"words in {language}", 3.0, 4.0, 2.5, f0, -20.0, 1.0, 1.0)


def clip(name: str, role: str, level: int) -> tuple[Clip, float]:
    speaker = name.partition("-")[0]
    made = Clip(name, role, speaker, speaker, "fm"[level % 2], "en", "CC0", (("p", name),))
    return made, level / 10


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    speakers = ["a", "b", "c"]
    made = [
        clip(f"{speaker}-{role[0]}", role, 2 * number + 1)
        for number, speaker in enumerate(speakers)
        for role in ("source", "reference", "target")
    ]
    real = tmp_path / "real"
    real.mkdir()
    with (real / "manifest.jsonl").open("w") as lines:
        for each, level in made:
            soundfile.write(real / f"{each.name}.flac", np.full(8000, level), 16_000)
            entry = {"origin": "p", "name": each.name, "file": f"{each.name}.flac"}
            lines.write(json.dumps(entry) + "\n")
    chosen = pairs([each for each, _ in made])
    return Evaluation(tmp_path / "out", Library(real), FakeListeners(tmp_path), chosen)


def perfect(calls: list[int]) -> System:
    def convert(source: FloatArray, reference: FloatArray) -> FloatArray:
        calls.append(1)
        return np.full(len(source), reference[0], np.float32)

    return System("perfect", convert, "1")


def quiet(_line: str) -> None:
    pass


def test_a_perfect_conversion_is_all_target_and_the_source_is_all_source(
    evaluation: Evaluation,
) -> None:
    chosen = [systems.unconverted(), perfect([])]
    for system in chosen:
        evaluation.run(system, 0, 1, quiet)
    content, scores = evaluation.summary(chosen)
    source, made = content["systems"]
    assert source["metrics"]["secs_source"]["mean"] == pytest.approx(1.0, abs=1e-4)
    assert made["metrics"]["secs_target"]["mean"] == pytest.approx(1.0, abs=1e-4)
    assert made["metrics"]["secs_margin"]["mean"] > 0 > source["metrics"]["secs_margin"]["mean"]
    assert made["against"]["unconverted"]["secs_target"]["mean"] > 0
    assert made["metrics"]["cer"]["mean"] == 0
    assert made["metrics"]["campplus_target"]["mean"] is None
    assert content["pairs"] == len(scores["perfect"]) == 6
    assert content["people"]["SECS"]["same"] == pytest.approx(1.0, abs=1e-4)


def test_what_was_made_and_heard_is_kept(evaluation: Evaluation) -> None:
    calls: list[int] = []
    evaluation.run(perfect(calls), 0, 1, quiet)
    listening = evaluation.listeners
    assert isinstance(listening, FakeListeners)
    heard = listening.heard
    evaluation.run(perfect(calls), 0, 1, quiet)
    assert (len(calls), listening.heard) == (6, heard)
    # Another state of the system is another folder.
    later = System("perfect", perfect(calls).convert, "2")
    evaluation.run(later, 0, 1, quiet)
    assert len(calls) == 12


def test_an_output_that_changed_is_heard_again(evaluation: Evaluation) -> None:
    evaluation.run(perfect([]), 0, 1, quiet)
    pair = evaluation.pairs[0]
    before = evaluation.of_output(perfect([]), pair)
    path = evaluation.folder / "perfect" / "1" / f"{pair.name}.flac"
    soundfile.write(path, np.full(8000, 0.9), 16_000)
    assert evaluation.of_output(perfect([]), pair) != before


def test_workers_share_the_pairs(evaluation: Evaluation) -> None:
    calls: list[int] = []
    evaluation.run(perfect(calls), 0, 2, quiet)
    assert len(calls) == 3
    with pytest.raises(MissingPairsError, match="perfect"):
        evaluation.summary([perfect(calls)])
    evaluation.run(perfect(calls), 1, 2, quiet)
    assert len(calls) == 6
    evaluation.summary([perfect(calls)])


def test_an_output_of_another_length_is_refused(evaluation: Evaluation) -> None:
    short = System("short", lambda source, _: source[:-1], "1")
    with pytest.raises(ValueError, match="7999 samples of 8000"):
        evaluation.run(short, 0, 1, quiet)


def test_table_and_picture_have_every_metric_and_system(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    chosen = [systems.unconverted(), perfect([])]
    for system in chosen:
        evaluation.run(system, 0, 1, quiet)
    content, _ = evaluation.summary(chosen)
    lines = report.table(content).splitlines()
    assert lines[0] == "|  | unconverted | perfect |"
    titles = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]
    assert titles[: len(report.METRICS)] == [metric.title for metric in report.METRICS]
    assert "6 pairs of 3 sources and 3 references" in lines[-1]
    report.draw(content, tmp_path / "quality.png")
    assert (tmp_path / "quality.png").stat().st_size > 1000


def test_scores_by_hand() -> None:
    def speaks(embedding: list[float], text: str, level: float) -> Analysis:
        f0 = [100.0 + n for n in range(50)]
        return Analysis(embedding, [], text, 1.0, 2.0, 3.0, f0, level, 1.5, 2.5)

    output = speaks([0.6, 0.8], "the hat", -18.0)
    source, target = speaks([0.8, 0.6], "The cat.", -20.0), speaks([0.0, 1.0], "other", -25.0)
    found = score(output, source, target, speaks([1.0, 0.0], "", 0.0))
    assert found["secs_target"] == pytest.approx(0.8)
    assert found["secs_source"] == pytest.approx(0.96)
    assert found["secs_other"] == pytest.approx(0.6)
    assert found["secs_margin"] == pytest.approx(-0.16)
    assert np.isnan(found["campplus_margin"])
    assert (found["character_edits"], found["characters"]) == (1, 7)
    assert (found["word_edits"], found["words"]) == (1, 2)
    assert (found["f0_correlation"], found["level_db"]) == (pytest.approx(1.0), 2.0)


class TestFindingSystems:
    def test_an_engine_is_both_geometries_through_its_converter(self, tmp_path: Path) -> None:
        live, file = systems.find("passthrough", tmp_path)
        assert (live.name, file.name) == ("passthrough:live", "passthrough:file")
        assert live.block < file.block
        assert live.fingerprint != file.fingerprint
        source = np.random.default_rng(1).uniform(-0.5, 0.5, 20_001).astype(np.float32)
        for system in (live, file):
            assert np.array_equal(system.convert(source, source), source)

    def test_a_function_may_make_one(self, tmp_path: Path) -> None:
        (found,) = systems.find(f"{__name__}:made_by_name", tmp_path)
        assert found.name == f"in {tmp_path.name}"

    @pytest.mark.parametrize(
        "spec", ["nonsense", "world:loud", "training.nothing:here", "training.evaluate:Options"]
    )
    def test_anything_else_is_an_error(self, spec: str, tmp_path: Path) -> None:
        with pytest.raises(UnknownSystemError, match=spec):
            systems.find(spec, tmp_path)


def made_by_name(root: Path) -> System:
    return System(f"in {root.name}", lambda source, _: source, "1")
