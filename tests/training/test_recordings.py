from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.training.conftest import tone
from training.data import real
from training.data.source import LicenceError, Source
from training.data.sources import SOURCES
from training.data.tree import Commit, TreeError, open_tree

SPEAKERS = 24
CLIPS = 3


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def mirrors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of mirrors with one repository: SPEAKERS people, CLIPS recordings each."""
    folder = tmp_path_factory.mktemp("mirrors")
    work = folder / "someone+speech/repo"
    work.mkdir(parents=True)
    git(work, "init", "--quiet")
    for speaker in range(SPEAKERS):
        (work / f"wav/{speaker:02d}").mkdir(parents=True)
        for clip in range(CLIPS):
            path = work / f"wav/{speaker:02d}/{clip}.wav"
            soundfile.write(path, tone(100 + 5 * speaker, 1.0 + 0.1 * clip), 16_000)
    (work / "ages").write_text("".join(f"{who:02d}\t{20 + who}\n" for who in range(SPEAKERS)))
    (work / "a.trans.txt").write_text("0 AN OPEN DOOR\n1 TWO WORDS\n")
    git(work, "add", "-A")
    git(work, "commit", "--quiet", "-m", "speech")
    return folder


def source(mirrors: Path, **changes: Any) -> Source:
    commit = git(mirrors / "someone+speech/repo", "rev-parse", "HEAD")
    known: dict[str, Any] = {
        "origin": "someone/speech",
        "pattern": r"^wav/(?P<who>\d+)/\d\.wav$",
        "speaker": "some-{who}",
        "language": "en",
        "sex": "?",
        "licence": "CC-BY-4.0",
        "credit": "Someone",
        "use": "train",
        "commit": commit,
        "core_minutes": 0.5,
        "texts": r"\.trans\.txt$",
        "ages": ("ages",),
        "held_out": True,
    }
    return Source(**(known | changes))


def entries(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "real/manifest.jsonl").read_text().splitlines()]


def test_all_speakers_are_decoded_and_listed(mirrors: Path, tmp_path: Path) -> None:
    real.run(tmp_path, mirrors, sources=(source(mirrors),))
    found = entries(tmp_path)
    assert len(found) == SPEAKERS * CLIPS
    first = next(entry for entry in found if entry["name"] == "wav/07/0.wav")
    assert first["speaker"] == "some-07"
    assert first["age"] == 27
    assert first["text"] == "AN OPEN DOOR"
    speech, rate = soundfile.read(tmp_path / "real" / first["file"])
    assert (rate, len(speech)) == (16_000, first["samples"])
    held_out = {entry["speaker"] for entry in found if entry["split"] == "valid"}
    assert 0 < len(held_out) < SPEAKERS / 3
    assert not held_out & {entry["speaker"] for entry in found if entry["split"] == "train"}


def test_the_core_set_has_everybody_and_what_follows_only_adds(
    mirrors: Path, tmp_path: Path
) -> None:
    table = (source(mirrors),)
    real.run(tmp_path, mirrors, core=True, sources=table)
    core = entries(tmp_path)
    assert len(core) < SPEAKERS * CLIPS
    assert len({entry["speaker"] for entry in core}) == SPEAKERS
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "real/audio").rglob("*.flac")}
    real.run(tmp_path, mirrors, sources=table)
    everything = entries(tmp_path)
    assert len(everything) == SPEAKERS * CLIPS
    assert [entry["file"] for entry in everything[: len(core)]] == [e["file"] for e in core]
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def test_an_interrupted_run_goes_on(mirrors: Path, tmp_path: Path) -> None:
    table = (source(mirrors),)
    real.run(tmp_path, mirrors, core=True, sources=table)
    path = real.clips_of(table[0], tmp_path / "real")
    path.write_text(path.read_text() + '{"file": "aud')
    real.run(tmp_path, mirrors, sources=table)
    names = [entry["name"] for entry in entries(tmp_path)]
    assert len(names) == len(set(names)) == SPEAKERS * CLIPS


def test_words_are_joined_to_longer_clips(mirrors: Path, tmp_path: Path) -> None:
    real.run(tmp_path, mirrors, sources=(source(mirrors, join_s=2.0),))
    found = entries(tmp_path)
    assert {len(entry["parts"]) for entry in found} == {2}
    assert all(entry["samples"] > 2 * 16_000 for entry in found)


def test_wide_recordings_keep_their_upper_bands(mirrors: Path, tmp_path: Path) -> None:
    real.run(tmp_path, mirrors, sources=(source(mirrors, wide=True),))
    first = entries(tmp_path)[0]
    speech, rate = soundfile.read(tmp_path / "real" / first["file"])
    assert rate == 24_000
    assert first["samples"] == pytest.approx(len(speech) * 2 / 3, abs=1)


def test_nothing_learns_from_a_licence_that_asks_for_more_than_credit(mirrors: Path) -> None:
    for licence in ("", "CC-BY-SA-4.0", "GPL-2"):
        with pytest.raises(LicenceError, match="nothing may learn"):
            source(mirrors, licence=licence)
    assert source(mirrors, licence="GPL-2", use="eval").use == "eval"


def test_every_source_names_whom_to_credit_and_every_repository_its_commit() -> None:
    assert all(each.credit for each in SOURCES)
    assert all(len(each.commit) == 40 for each in SOURCES if "/" in each.origin)


def test_nobody_of_the_evaluation_is_learned_from() -> None:
    learned = {each.speaker for each in SOURCES if each.use != "eval" and "{" not in each.speaker}
    judged = {each.speaker for each in SOURCES if each.use == "eval"}
    assert not learned & judged


def test_a_missing_commit_is_an_error_that_names_it(mirrors: Path, tmp_path: Path) -> None:
    wrong = source(mirrors, commit="0" * 40)
    with pytest.raises(TreeError, match="no commit 0000"):
        open_tree(wrong, tmp_path, mirrors)
    with pytest.raises(TreeError, match="no commit"):
        open_tree(source(mirrors, origin="no/body"), tmp_path, mirrors)


def test_files_of_a_commit_are_read_without_a_checkout(mirrors: Path) -> None:
    tree = Commit(mirrors / "someone+speech/repo/.git", source(mirrors).commit)
    speech, rate = soundfile.read(io.BytesIO(tree.read("wav/03/1.wav")))
    assert (len(speech), rate) == (17_600, 16_000)
    assert tree.read("a.trans.txt").startswith(b"0 AN")
    tree.close()


def test_silence_is_trimmed_from_both_ends() -> None:
    speech = np.concatenate([np.zeros(8000, np.float32), tone(150, 1.0), np.zeros(8000)])
    assert len(real.trim(speech.astype(np.float32))) == pytest.approx(16_000 + 3200, abs=320)
