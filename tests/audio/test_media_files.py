"""What phones and browsers record: read with PyAV, and what is said without it."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from fast_vc_service.audio.files import AudioFileError, audio_info, count_audio, read_audio
from fast_vc_service.audio.untrusted import TooLongError, examine, kinds
from media_recordings import CODECS, RATE, SECONDS, likeness, recorded, tone

MP4_HEAD = b"\x00\x00\x00\x18ftypM4A " + bytes(32)


@pytest.mark.media
@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("channels", [1, 2])
def test_recordings_of_phones_and_browsers_are_read(
    tmp_path: Path, kind: str, channels: int
) -> None:
    path = recorded(tmp_path / f"memo.{kind}", channels)
    audio, rate = read_audio(path)
    assert rate == RATE
    # Encoders pad to whole frames at both ends.
    assert SECONDS - 0.01 < len(audio) / rate < SECONDS + 0.1
    assert count_audio(path).frames == len(audio)
    assert audio_info(path).channels == channels
    assert likeness(audio[RATE // 2 : 3 * RATE // 2]) > 0.99


@pytest.mark.media
@pytest.mark.parametrize("kind", ["webm", "aac"])
def test_of_a_recording_that_was_cut_off_the_beginning_is_read(tmp_path: Path, kind: str) -> None:
    path = recorded(tmp_path / f"memo.{kind}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    audio, rate = read_audio(path)
    assert 0.3 * SECONDS < len(audio) / rate < 0.8 * SECONDS


@pytest.mark.media
def test_a_damaged_recording_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = recorded(tmp_path / "memo.m4a")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioFileError, match="cannot be read as audio"):
        read_audio(path)


def test_without_pyav_it_is_said_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "memo.m4a"
    path.write_bytes(MP4_HEAD)
    with pytest.raises(AudioFileError) as refused:
        read_audio(path)
    said = str(refused.value)
    assert "pip install 'fast-vc-service[media]'" in said
    assert "ffmpeg -i memo.m4a memo.wav" in said
    assert "\n" not in said


class FaultError(Exception):
    """What the stand-in of PyAV fails with."""


def stand_in(
    frames: int, *, opens: bool = True, audio: bool = True
) -> tuple[ModuleType, list[str]]:
    """A module with what is used of PyAV, which decodes so many frames and then fails."""
    seen: list[str] = []
    stream = SimpleNamespace(rate=RATE, channels=1, layout=SimpleNamespace(name="mono"))

    class Container:
        streams = SimpleNamespace(audio=[stream] if audio else [])

        def decode(self, _stream: object) -> object:
            for piece in tone()[: frames * 960].reshape(frames, 1, 960):
                yield SimpleNamespace(to_ndarray=lambda piece=piece: piece)
            raise FaultError

        def close(self) -> None:
            seen.append("closed")

    def opened(path: str, **named: object) -> Container:
        assert named == {"format": "mov", "container_options": {"protocol_whitelist": "file"}}
        seen.append(Path(path).name)
        if not opens:
            raise FaultError("no index")
        return Container()

    module = ModuleType("av")
    module.__spec__ = ModuleSpec("av", None)
    module.open = opened  # type: ignore[attr-defined]
    module.error = SimpleNamespace(FFmpegError=FaultError)  # type: ignore[attr-defined]
    module.AudioResampler = lambda **_: SimpleNamespace(  # type: ignore[attr-defined]
        resample=lambda frame: [frame]
    )
    return module, seen


@pytest.fixture
def media(tmp_path: Path) -> Path:
    path = tmp_path / "memo.m4a"
    path.write_bytes(MP4_HEAD)
    return path


def test_what_was_decoded_before_a_fault_is_kept_and_the_file_closed(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, seen = stand_in(3)
    monkeypatch.setitem(sys.modules, "av", module)
    assert count_audio(media).frames == 3 * 960
    assert seen == ["memo.m4a", "closed"]
    audio, rate = read_audio(media)
    assert rate == RATE
    np.testing.assert_array_equal(audio, tone()[: 3 * 960])
    assert seen.count("closed") == seen.count("memo.m4a")


def test_only_the_header_is_asked_and_the_file_closed(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, seen = stand_in(3)
    monkeypatch.setitem(sys.modules, "av", module)
    assert audio_info(media).channels == 1
    assert seen == ["memo.m4a", "closed"]


@pytest.mark.parametrize(
    ("wrong", "reason"), [({"opens": False}, "no index"), ({"audio": False}, "holds no audio")]
)
def test_a_file_that_is_no_audio_is_refused(
    media: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, bool], reason: str
) -> None:
    module, _ = stand_in(1, **wrong)
    monkeypatch.setitem(sys.modules, "av", module)
    with pytest.raises(AudioFileError, match=reason):
        read_audio(media)


@pytest.mark.media
@pytest.mark.parametrize("kind", CODECS)
def test_recordings_of_strangers_are_read_and_no_further_than_they_may_last(
    tmp_path: Path, kind: str
) -> None:
    path = recorded(tmp_path / f"memo.{kind}").rename(tmp_path / "upload")
    assert examine(path, max_s=60.0).frames == count_audio(path).frames
    with pytest.raises(TooLongError):
        examine(path, max_s=SECONDS / 2)


def test_recordings_of_strangers_are_taken_where_they_can_be_read(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioFileError, match="cannot be read here; convert it first"):
        examine(media, max_s=60.0)
    assert "M4A" not in kinds()
    monkeypatch.setitem(sys.modules, "av", stand_in(30)[0])
    assert examine(media, max_s=60.0).frames == 30 * 960
    assert "M4A" in kinds()
    with pytest.raises(TooLongError):
        examine(media, max_s=0.5)
