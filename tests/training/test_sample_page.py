from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from training import sample_page
from training.data.real import SAMPLE_RATE_HZ
from training.data.sources import SOURCES
from training.sample_page import SamplesError, find


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Recordings of one speaker: one for training, four for validation."""
    folder = tmp_path / "real"
    folder.mkdir()
    rng = np.random.default_rng(1)
    with (folder / "manifest.jsonl").open("w") as lines:
        for number, (seconds, split) in enumerate(
            [(8.5, "train"), (12.0, "valid"), (4.0, "valid"), (3.5, "valid"), (3.0, "valid")]
        ):
            audio = 0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE_HZ))
            soundfile.write(folder / f"{number}.flac", audio, SAMPLE_RATE_HZ)
            entry = {"speaker": "it-carlo", "split": split, "samples": len(audio)}
            lines.write(json.dumps(entry | {"file": f"{number}.flac"}) + "\n")
    return folder


def test_only_licences_that_allow_it_are_passed_on() -> None:
    licences = {source.speaker: source.licence for source in SOURCES}
    used = {licences[name] for pair in sample_page.PAIRS for name in pair if name in licences}
    assert used <= {"CC-BY-3.0", "public domain"}
    assert len(sample_page.PAIRS) == 10


def test_a_recorded_source_is_not_in_its_reference_nor_in_training(real: Path) -> None:
    source = find("it-carlo", "source", real)
    reference = find("it-carlo", "reference", real)
    assert len(source.audio) == 4.0 * SAMPLE_RATE_HZ
    assert len(reference.audio) == (3.5 + 0.25 + 3.0) * SAMPLE_RATE_HZ
    assert "CC-BY-3.0" in source.credit


def test_every_clip_of_the_project_is_there(real: Path) -> None:
    speakers = {source.speaker for source in SOURCES}
    for source, reference in sample_page.PAIRS:
        for name, role in ((source, "source"), (reference, "reference")):
            if name not in speakers:
                assert len(find(name, role, real).audio) > 0


def test_missing_clips_are_named(real: Path) -> None:
    with pytest.raises(SamplesError, match="nobody"):
        find("nobody", "source", real)
    with pytest.raises(SamplesError, match="ru-ivrvoice"):
        find("ru-ivrvoice", "source", real)


def test_the_page_plays_and_credits_what_was_written(real: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = sample_page.convert("passthrough", [("it-carlo", "alto")], real, out)
    page = sample_page.page("passthrough", made)
    played = re.findall(r'src="([^"]+)"', page)
    assert len(played) == 3
    for name in played:
        assert soundfile.info(out / name).samplerate == 24_000
    assert soundfile.info(out / made[0].output).frames == pytest.approx(4.0 * 24_000, abs=1)
    for text in (page, sample_page.readme("passthrough", made)):
        assert "Carlo Flora" in text
        assert "Kokoro-82M" in text
