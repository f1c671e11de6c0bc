from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from loguru import logger

from fast_vc_service import __version__
from fast_vc_service.audio.files import write_audio
from fast_vc_service.contract import FloatArray, Voice
from fast_vc_service.models.passthrough.converter import PassthroughConverter
from fast_vc_service.voices import voice_file
from fast_vc_service.voices.clip_folder import ClipFolder
from fast_vc_service.voices.folder import UnknownVoiceError, VoiceStore
from fast_vc_service.voices.voice_file import load_voice, save_voice


class CountingConverter(PassthroughConverter):
    """Makes voices that tell their clip's length; counts how often."""

    family = "counting"

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []
        self.slow = threading.Event()
        self.slow.set()

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:
        self.slow.wait(5)
        self.made.append(name)
        if len(audio) < 1_000:
            raise ValueError(f"the clip of voice {name!r} is too short")
        return Voice(name, self.family, {"length": np.array([len(audio)], np.float32)})


@pytest.fixture
def maker() -> CountingConverter:
    return CountingConverter()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clips = tmp_path / "clips"
    clips.mkdir()
    clip(clips / "anna.wav", 2_000)
    clip(clips / "bert.flac", 3_000)
    return clips


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}", level="DEBUG")
    yield lines
    logger.remove(sink)


def clip(path: Path, samples: int) -> None:
    audio = np.random.default_rng(samples).uniform(-0.5, 0.5, samples).astype(np.float32)
    write_audio(path, audio, 16_000)


def length(voice: Voice) -> float:
    return float(voice.features["length"][0])


def test_names_are_the_stems_of_readable_clips(folder: Path, maker: CountingConverter) -> None:
    clip(folder / "Émile 2.ogg", 2_000)
    (folder / "notes.txt").write_text("no clip")
    (folder / "._anna.wav").write_bytes(b"resource fork")
    store = VoiceStore(folder, maker, None, "anna")
    assert store.names() == ["anna", "bert", "Émile 2"]
    assert store.problems() == {}
    assert maker.made == []


def test_a_clip_added_later_is_found(folder: Path, maker: CountingConverter) -> None:
    store = VoiceStore(folder, maker, None, "anna")
    assert "carl" not in store.names()
    clip(folder / "carl.wav", 1_500)
    assert length(store.get("carl")) == 1_500


def test_broken_and_unsafe_files_are_told_not_offered(
    folder: Path, maker: CountingConverter, log: list[str]
) -> None:
    (folder / "broken.wav").write_bytes(b"RIFF nonsense")
    (folder / "empty.wav").touch()
    clip(folder / "a;b.wav", 2_000)
    clip(folder / "anna.ogg", 2_000)
    (folder / "folder.wav").mkdir()
    store = VoiceStore(folder, maker, None, "anna")
    assert store.names() == ["anna", "bert"]
    problems = store.problems()
    assert set(problems) == {"broken.wav", "empty.wav", "a;b.wav", "anna.ogg", "folder.wav"}
    assert "letters, digits" in problems["a;b.wav"]
    assert "anna.wav already makes" in problems["anna.ogg"]
    assert sum("broken.wav" in line for line in log) == 1


def test_a_missing_folder_has_no_voices(tmp_path: Path, maker: CountingConverter) -> None:
    store = VoiceStore(tmp_path / "none", maker, None, "anna")
    assert store.names() == []
    with pytest.raises(UnknownVoiceError, match="available: none"):
        store.get("anna")


@pytest.mark.parametrize("name", ["carl", "../clips/anna", "anna.wav", "/etc/passwd", "", "\0"])
def test_unknown_names_are_refused_with_what_there_is(
    name: str, folder: Path, maker: CountingConverter
) -> None:
    with pytest.raises(UnknownVoiceError) as caught:
        VoiceStore(folder, maker, None, "anna").get(name)
    assert caught.value.name == name
    assert caught.value.available == ("anna", "bert")
    assert "anna, bert" in str(caught.value)


def test_a_voice_is_made_on_first_use_and_kept(folder: Path, maker: CountingConverter) -> None:
    store = VoiceStore(folder, maker, None, "anna")
    assert store.made("anna") is None
    voice = store.get("anna")
    (folder / "anna.wav").unlink()
    assert store.get("anna") is voice
    assert store.made("anna") is voice
    assert maker.made == ["anna"]


def test_many_threads_make_a_voice_once(folder: Path, maker: CountingConverter) -> None:
    store = VoiceStore(folder, maker, folder.parent / "cache", "anna")
    maker.slow.clear()
    with ThreadPoolExecutor(8) as threads:
        jobs = [threads.submit(store.get, name) for name in ["anna", "bert"] * 4]
        maker.slow.set()
        made = {id(job.result()) for job in jobs}
    assert len(made) == 2
    assert sorted(maker.made) == ["anna", "bert"]


def test_a_clip_that_makes_no_voice_is_tried_again_only_when_it_changes(
    folder: Path, maker: CountingConverter
) -> None:
    clip(folder / "short.wav", 500)
    store = VoiceStore(folder, maker, None, "anna")
    assert "short" in store.names()
    with pytest.raises(ValueError, match="too short"):
        store.get("short")
    with pytest.raises(UnknownVoiceError):
        store.get("short")
    assert "too short" in store.problems()["short.wav"]
    assert maker.made == ["short"]
    clip(folder / "short.wav", 2_500)
    assert length(store.get("short")) == 2_500


def test_the_cache_spares_the_work_and_goes_by_content(
    folder: Path, maker: CountingConverter
) -> None:
    cache = folder.parent / "cache"
    VoiceStore(folder, maker, cache, "anna").get("anna")
    (folder / "anna.wav").rename(folder / "anne.wav")
    again = VoiceStore(folder, maker, cache, "anne").get("anne")
    assert maker.made == ["anna"]
    assert (again.name, again.family, length(again)) == ("anne", "counting", 2_000)

    clip(folder / "anne.wav", 2_222)
    assert length(VoiceStore(folder, maker, cache, "anne").get("anne")) == 2_222
    assert all(path.name.startswith("counting-") for path in cache.iterdir())


@pytest.mark.parametrize("damage", ["truncated", "nonsense", "other version"])
def test_a_damaged_or_outdated_cache_is_made_anew(
    damage: str, folder: Path, maker: CountingConverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = folder.parent / "cache"
    VoiceStore(folder, maker, cache, "anna").get("anna")
    [kept] = cache.iterdir()
    if damage == "truncated":
        kept.write_bytes(kept.read_bytes()[:-2])
    elif damage == "nonsense":
        kept.write_bytes(b"\xff" * 100)
    else:
        monkeypatch.setattr(voice_file, "__version__", __version__ + ".next")
    voice = VoiceStore(folder, maker, cache, "anna").get("anna")
    assert length(voice) == 2_000
    assert maker.made == ["anna", "anna"]
    assert load_voice(kept).name == "anna"


def test_a_cache_that_cannot_be_written_is_told_and_no_more(
    folder: Path, maker: CountingConverter, log: list[str]
) -> None:
    (folder.parent / "cache").write_text("a file where a folder should be")
    store = VoiceStore(folder, maker, folder.parent / "cache", "anna")
    assert length(store.get("anna")) == 2_000
    assert any("not kept" in line for line in log)


def test_saving_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    save_voice(path, Voice("x", "f", {"a": np.arange(3, dtype=np.float32)}))

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(voice_file.os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        save_voice(path, Voice("y", "f", {"a": np.zeros(3, np.float32)}))
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]
    assert load_voice(path).name == "x"


def test_a_voice_survives_its_file(tmp_path: Path) -> None:
    features = {
        "flat": np.float32([1, 2]),
        "table": np.arange(12, dtype=np.float64).reshape(3, 4).T,
    }
    save_voice(tmp_path / "v.safetensors", Voice("Ünal", "world", features))
    voice = load_voice(tmp_path / "v.safetensors")
    assert (voice.name, voice.family) == ("Ünal", "world")
    for key, value in features.items():
        np.testing.assert_array_equal(voice.features[key], value)
        assert voice.features[key].dtype == value.dtype
    save_voice(tmp_path / "bare.safetensors", Voice("bare", "passthrough"))
    assert load_voice(tmp_path / "bare.safetensors").features == {}


def test_a_missing_voice_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no readable voice"):
        load_voice(tmp_path / "none.safetensors")


def test_names_that_cannot_be_shown_cost_a_line_each_and_no_other_clip(tmp_path: Path) -> None:
    alto = Path(__file__).parents[2] / "wavs" / "references" / "alto.wav"
    names = [
        b"good.wav",
        b"a\xff.wav",
        b"a\xfe.wav",
        b"a\nb.wav",
        b"\x1b[2J.wav",
        b"x" * 200 + b".wav",
    ]
    for name in names:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_bytes(alto.read_bytes())
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(str(message)), format="{message}")
    try:
        folder = ClipFolder(tmp_path)
        assert list(folder.clips()) == ["good"]
        problems = folder.problems()
    finally:
        logger.remove(handler)
    assert len(problems) == len(lines) == len(names) - 1, "two different names stay different"
    for shown in (*problems, *(line.removesuffix("\n") for line in lines)):
        assert shown.isprintable()
        shown.encode()
