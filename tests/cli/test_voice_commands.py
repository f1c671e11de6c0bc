from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fast_vc_service.cli import main
from fast_vc_service.voices.uploads import UploadedVoices

ROOT = Path(__file__).parents[2]
ALTO = ROOT / "wavs/references/alto.wav"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Type `fast-vc voices ...`; returns exit status, stdout and stderr."""
    monkeypatch.setenv("FAST_VC_HOME", str(tmp_path))
    monkeypatch.setenv("FAST_VC_VOICES_DIR", str(ALTO.parent))
    monkeypatch.setenv("FAST_VC_ENGINE", "passthrough")
    monkeypatch.chdir(tmp_path)

    def typed(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fast-vc", "voices", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return typed


def kept(home: Path) -> list[str]:
    folder = home / "data/voices"
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def test_a_voice_is_added_listed_and_removed(run: Run, tmp_path: Path) -> None:
    assert run("add", "anna", ALTO, "--consent", "--description", "Calm")[:2] == (0, "added anna\n")
    status, out, _ = run("list", "--json")
    listed = {voice["name"]: voice for voice in json.loads(out)["voices"]}
    assert status == 0
    assert (listed["anna"]["source"], listed["anna"]["description"]) == ("added", "Calm")
    assert listed["ref-24k"]["default"] is True
    assert "anna" in run("list")[1]
    assert len(UploadedVoices(tmp_path / "data/voices").records()) == 1
    assert run("remove", "anna", "-y")[:2] == (0, "removed anna\n")
    assert list((tmp_path / "data/voices").iterdir()) == []
    status, _, err = run("remove", "anna", "-y")
    assert (status, "no voice 'anna'" in err) == (1, True)


def test_what_cannot_be_added_is_told_in_a_line(run: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(1000), 16_000)
    (tmp_path / "text.wav").write_text("no audio at all, just some words")
    for words, told in [
        (("add", "anna", ALTO), "--consent"),
        (("add", "../anna", ALTO, "--consent"), "letters"),
        (("add", "alto", ALTO, "--consent"), "already"),
        (("add", "anna", "missing.wav", "--consent"), "no such file"),
        (("add", "anna", "text.wav", "--consent"), "WAV, FLAC, OGG or MP3"),
        (("add", "anna", "short.wav", "--consent"), "makes no voice"),
    ]:
        status, _, err = run(*words)
        assert status == 1, words
        assert told in err
        assert err.startswith("fast-vc: ")
        assert err.count("\n") == 1
    assert kept(tmp_path) == []


def test_check_tells_good_from_useless(run: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(80_000), 16_000)
    status, out, _ = run("check", ALTO)
    assert (status, out.splitlines()[0]) == (0, f"{ALTO}: good")
    status, out, _ = run("check", ALTO, "silent.wav", "missing.wav", "--json")
    good, silent, missing = json.loads(out)["clips"]
    assert status == 1
    assert good["problems"] == good["doubts"] == []
    assert silent["problems"]
    assert "no such file" in missing["problems"][0]


def test_a_voice_goes_from_one_service_to_another(run: Run, tmp_path: Path) -> None:
    run("add", "anna", ALTO, "--consent", "--description", "Calm", "--owner", "alice")
    assert run("export", "anna")[0] == 1
    assert run("export", "anna", "--owner", "alice")[:2] == (0, "anna.zip\n")
    assert run("export", "anna", "--owner", "alice")[0] == 1, "must not overwrite"
    assert run("import", "anna.zip")[:2] == (0, "added anna\n")
    assert run("import", "anna.zip", "--name", "bea", "--owner", "bob")[0] == 0
    records = {record.name: record for record in UploadedVoices(tmp_path / "data/voices").records()}
    assert (records["bea"].owner, records["bea"].description) == ("bob", "Calm")
    assert run("export", "alto", "--output", "clip.zip")[0] == 0
    assert run("import", "clip.zip", "--name", "copy")[0] == 0


@pytest.mark.parametrize("half", ["\ud800", "a\udfff"])
@pytest.mark.parametrize("of", ["--description", "--owner", "name"])
def test_what_is_typed_with_half_a_pair_is_no_text(
    run: Run, tmp_path: Path, of: str, half: str
) -> None:
    named, more = (half, []) if of == "name" else ("anna", [of, half])
    status, _, err = run("add", named, ALTO, "--consent", *more)
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("fast-vc: ")
    assert kept(tmp_path) == []


def archive_of(path: Path, record: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("voice.json", record)
        archive.write(ALTO, "clip.flac")


@pytest.mark.parametrize("member", ["name", "description"])
@pytest.mark.parametrize("half", ["\ud800", "a\udfff"])
def test_a_record_with_half_a_pair_is_not_imported(
    run: Run, tmp_path: Path, member: str, half: str
) -> None:
    record = {"schema": 1, "name": "x", "description": None, "consent": True, member: half}
    archive_of(tmp_path / "half.zip", json.dumps(record).encode())
    status, _, err = run("import", "half.zip")
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("fast-vc: ")
    assert kept(tmp_path) == []


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1"])
def test_a_record_in_another_charset_is_not_imported(
    run: Run, tmp_path: Path, charset: str
) -> None:
    record = {"schema": 1, "name": "x", "description": "Ännä", "consent": True}
    text = json.dumps(record, ensure_ascii=False)
    archive_of(tmp_path / "foreign.zip", text.encode(charset))
    status, _, err = run("import", "foreign.zip")
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("fast-vc: foreign.zip: ")
    assert kept(tmp_path) == []
    archive_of(tmp_path / "ours.zip", text.encode())
    assert run("import", "ours.zip")[:2] == (0, "added x\n")


@pytest.mark.parametrize("what", ["text", "path", "more", "bomb", "record", "consent", "clip"])
def test_a_hostile_file_is_not_imported(run: Run, tmp_path: Path, what: str) -> None:
    record = {"schema": 1, "name": "x", "description": None, "consent": True}
    clip = ALTO.read_bytes()
    path = tmp_path / "evil.zip"
    if what == "text":
        path.write_text("PK, but no archive")
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            if what == "consent":
                record["consent"] = "yes"
            archive.writestr(
                "voice.json", "[" * 100_000 if what == "record" else json.dumps(record)
            )
            name = "../clip.flac" if what == "path" else "clip.flac"
            content = bytes(20_000_000) if what == "bomb" else b"x" * 99 if what == "clip" else clip
            archive.writestr(name, content)
            if what == "more":
                archive.writestr("run.sh", "rm")
    status, _, err = run("import", "evil.zip")
    assert status == 1
    assert err.startswith("fast-vc: evil.zip: ")
    assert kept(tmp_path) == []
