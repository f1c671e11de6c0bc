from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from training.data import render
from training.data.corpus import Sentence
from training.data.kokoro import Content
from training.data.voices import VoiceBank

FloatArray = NDArray[np.float32]


class FakeKokoro:
    """Decodes to a tone at the median F0: enough to check what is asked of it."""

    vocabulary: ClassVar[dict[str, int]] = {"a": 1, "b": 2}

    def encode(self, tokens: list[int], style: FloatArray, speed: float) -> Content:
        durations = np.full(len(tokens), 2)
        frames = int(durations.sum())
        f0 = np.full((1, 2 * frames), 100 + 100 * abs(float(style[200])) / speed, np.float32)
        f0[:, :4] = 5.0
        return Content(np.zeros((1, 512, frames), np.float32), f0, f0, durations)

    def decode(self, content: Content, f0_hz: FloatArray, style: FloatArray) -> FloatArray:
        samples = 600 * content.features.shape[2]
        time = np.arange(samples) / 24_000
        return (2 * np.sin(2 * np.pi * np.median(f0_hz) * time)).astype(np.float32)


@pytest.fixture
def bank(tmp_path: Path) -> VoiceBank:
    rng = np.random.default_rng(0)
    folder = tmp_path / "voices"
    folder.mkdir()
    for sex in "fm":
        for number in range(5):
            style = rng.standard_normal((200, 256)).astype(np.float32)
            style.tofile(folder / f"a{sex}_{number}.bin")
    return VoiceBank.load(folder)


@pytest.fixture
def planner(bank: VoiceBank) -> render.Planner:
    sentences = [
        Sentence(f"{language}-{number}", language, "text", "abab", split)
        for language in ("en-us", "zh")
        for number, split in enumerate(["train", "train", "eval"])
    ]
    return render.Planner(sentences, bank, 1, 2)


def test_a_plan_depends_on_its_index_alone(planner: render.Planner) -> None:
    plans = [planner.plan(index) for index in range(5)]
    assert planner.plan(3) == plans[3]
    assert len({str(plan) for plan in plans}) == 5


def test_held_out_voices_and_texts_meet_only_each_other(
    planner: render.Planner, bank: VoiceBank
) -> None:
    _, held_out = bank.split(1)
    for index in range(100):
        plan = planner.plan(index)
        names = {name for recipe in (plan.prosody, *plan.speakers) for name in recipe.names}
        assert plan.sentence.split == plan.split
        assert (plan.split == "eval") == (index % render.EVALUATION_EVERY == 24)
        assert names <= set(held_out) if plan.split == "eval" else not names & set(held_out)


def test_register_moves_voiced_values_and_leaves_the_rest() -> None:
    f0 = np.array([[5.0, 100.0, 200.0, 900.0]], np.float32)
    moved = render.move_register(f0, np.log(100), np.log(200), 1.0, 0.0)
    assert moved[0].tolist() == pytest.approx([5.0, 200.0, 400.0, 600.0])


def test_run_resumes_without_repeating_or_changing_files(
    planner: render.Planner, bank: VoiceBank, tmp_path: Path
) -> None:
    kokoro, whole, resumed = FakeKokoro(), tmp_path / "whole", tmp_path / "resumed"
    render.run(planner, kokoro, bank, whole, 2 / 3600)  # type: ignore[arg-type]
    render.run(planner, kokoro, bank, resumed, 1 / 3600)  # type: ignore[arg-type]
    manifest = resumed / "manifest-0.jsonl"
    manifest.write_text(manifest.read_text() + '{"index": 99, "cut by a cr')
    render.run(planner, kokoro, bank, resumed, 2 / 3600)  # type: ignore[arg-type]
    assert manifest.read_text() == (whole / "manifest-0.jsonl").read_text()
    entries = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [entry["index"] for entry in entries] == list(range(len(entries)))
    speech, rate = soundfile.read(resumed / entries[0]["file"])
    assert rate == 24_000
    assert speech.shape == (entries[0]["samples"], 2)
    assert speech.shape[0] == 600 * sum(entries[0]["durations"])
    assert np.abs(speech).max() == pytest.approx(render.PEAK, abs=1e-3)
