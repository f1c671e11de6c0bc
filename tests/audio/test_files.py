"""Audio files: what is read, what is refused and why, and WAV files that survive a kill."""

import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fast_vc_service.audio.files import (
    AudioFileError,
    AudioInfo,
    WavWriter,
    audio_info,
    count_audio,
    iter_audio,
    read_audio,
    wav_header,
    write_audio,
)
from fast_vc_service.audio.untrusted import TooLongError, examine, read_untrusted
from fast_vc_service.contract import FloatArray

ROOT = Path(__file__).parents[2]


def noise(samples: int) -> FloatArray:
    return np.random.default_rng(0).uniform(-0.9, 0.9, samples).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_written_files_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    x = (0.5 * np.sin(np.arange(16000) * 0.1)).astype(np.float32)
    write_audio(path, x, 16000)
    y, rate = read_audio(path)
    assert rate == 16000
    assert y.dtype == np.float32
    if suffix in {"wav", "flac"}:
        np.testing.assert_allclose(y, x, atol=1 / 65536)
        assert audio_info(path) == AudioInfo(16000, 1, 16000)
        assert audio_info(path).duration_s == 1.0
    assert np.corrcoef(x[2000:14000], y[2000:14000])[0, 1] > 0.99


def test_format_may_be_named(tmp_path: Path) -> None:
    write_audio(tmp_path / "audio.bin", noise(100), 8000, format="flac")
    assert (tmp_path / "audio.bin").read_bytes().startswith(b"fLaC")


def test_writing_clips_and_never_wraps(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", np.array([2, -2, np.nan, 0.5], np.float32), 8000)
    values, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert values.tolist() == [32767, -32768, 0, 16384]


def test_channels_with_the_same_sound_are_one_of_them(tmp_path: Path) -> None:
    left = noise(500)
    soundfile.write(tmp_path / "a.wav", np.stack([left, left], 1), 44100, subtype="FLOAT")
    y, rate = read_audio(tmp_path / "a.wav")
    assert (rate, audio_info(tmp_path / "a.wav").channels) == (44100, 2)
    np.testing.assert_allclose(y, left, atol=1e-6)


def test_a_float_file_above_full_scale_is_scaled_to_it(tmp_path: Path) -> None:
    loud = 2.5 * noise(5_000)
    soundfile.write(tmp_path / "a.wav", loud, 16_000, subtype="FLOAT")
    info = count_audio(tmp_path / "a.wav")
    assert info.peak == pytest.approx(np.abs(loud).max())
    y, _ = read_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(y, loud / np.abs(loud).max(), atol=1e-6)


def tone(seconds: float) -> FloatArray:
    time = np.arange(round(16_000 * seconds)) / 16_000
    return (0.3 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)


def unfinished_wav(path: Path, sizes: bytes = bytes(4)) -> None:
    """What a recorder leaves that was killed before it wrote the sizes."""
    soundfile.write(path, tone(3), 16_000, format="WAV", subtype="PCM_16")
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = sizes
    path.write_bytes(data)


def flac_of_unknown_length(path: Path) -> None:
    soundfile.write(path, tone(3), 16_000, format="FLAC")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)


def tagged(path: Path, file_format: str) -> None:
    soundfile.write(path, tone(3), 16_000, format=file_format, subtype="PCM_16")
    path.write_bytes(b"ID3\x04\x00\x00" + bytes([0, 0, 1, 0]) + bytes(128) + path.read_bytes())


WHOLE: dict[str, Callable[[Path], None]] = {
    "data size 0": unfinished_wav,
    "data size unknown": lambda path: unfinished_wav(path, b"\xff" * 4),
    "FLAC of unknown length": flac_of_unknown_length,
    "ID3 before RIFF": lambda path: tagged(path, "WAV"),
    "ID3 before FLAC": lambda path: tagged(path, "FLAC"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_all_samples_of_an_odd_file_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd"
    WHOLE[kind](path)
    assert count_audio(path).frames == len(tone(3))
    y, rate = read_audio(path)
    assert rate == 16_000
    np.testing.assert_allclose(y, tone(3), atol=1e-4)
    # The same as from a stranger.
    assert examine(path, max_s=10.0).frames == len(tone(3))
    assert np.array_equal(read_untrusted(path, max_s=10.0)[0], y)
    with pytest.raises(TooLongError):
        examine(path, max_s=2.0)


@pytest.mark.parametrize("file_format", ["OGG", "MP3", "FLAC", "WAV"])
def test_of_a_file_that_was_cut_off_what_is_there_is_read(tmp_path: Path, file_format: str) -> None:
    path = tmp_path / f"cut.{file_format.lower()}"
    whole = np.tile(tone(3), 6)
    soundfile.write(path, whole, 16_000, format=file_format)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    y, _ = read_audio(path)
    assert 0.2 * len(whole) < len(y) < 0.8 * len(whole)
    assert count_audio(path).frames == len(y)
    assert examine(path, max_s=60.0).frames == len(y)
    steady = slice(2_000, len(y) // 2)
    assert np.std(y[steady]) == pytest.approx(np.std(whole), rel=0.2)


def test_float_files_with_wild_samples_become_finite_audio(tmp_path: Path) -> None:
    wild = np.array([np.nan, np.inf, -np.inf, 3e38, 0.25], np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([wild, wild], 1), 16000, subtype="FLOAT")
    y, _ = read_audio(tmp_path / "a.wav")
    assert y.tolist() == [0, 1, -1, 1, 0.25]


def test_blocks_are_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, noise(2500), 1000)
    blocks = list(iter_audio(path, 0.7))
    assert [len(block) for block in blocks] == [700, 700, 700, 400]
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(path)[0])


def make_broken(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.wav"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "broken":
        path.write_bytes(b"this is no audio at all" * 20)
    elif kind == "cut":
        path.write_bytes(wav_header(16000, 100)[:30])
    elif kind == "silent":
        path.write_bytes(wav_header(16000, 0))
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("folder", "a folder"),
        ("empty", "0 bytes"),
        ("broken", "WAV, FLAC, OGG or MP3"),
        ("cut", "WAV, FLAC, OGG or MP3"),
        ("silent", "no samples"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, kind: str, message: str) -> None:
    path = make_broken(tmp_path, kind)
    for read in (read_audio, audio_info, lambda path: list(iter_audio(path))):
        with pytest.raises(AudioFileError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_a_header_that_claims_too_much_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_header(16000, 2**31) + bytes(200))
    y, _ = read_audio(path)
    assert len(y) == 100


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match=r"unknown audio format 'DOC'.*WAV"):
        write_audio(tmp_path / "a.doc", noise(10), 8000)
    with pytest.raises(AudioFileError, match="none"):
        write_audio(tmp_path / "a", noise(10), 8000)
    with pytest.raises(AudioFileError, match="cannot be written"):
        write_audio(tmp_path / "missing" / "a.wav", noise(10), 8000)


def test_wav_writer_is_playable_after_every_write(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    x = noise(1000)
    with WavWriter(path, 24000) as writer:
        for start in range(0, 1000, 250):
            writer.write(x[start : start + 250])
            y, rate = read_audio(path)
            assert rate == 24000
            np.testing.assert_allclose(y, x[: start + 250], atol=1 / 65536)
    writer.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_wav_writer_survives_being_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    code = f"""
import sys
import numpy as np
from fast_vc_service.audio.files import WavWriter
writer = WavWriter({str(path)!r}, 16000)
written = 0
while True:
    writer.write(np.full(320, 0.5, np.float32))
    written += 320
    if written % 3200 == 0:
        print(written, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(5)][-1]
        process.send_signal(signal.SIGKILL)
    samples, rate = read_audio(path)
    assert rate == 16000
    assert len(samples) >= seen
    assert set(samples.tolist()) == {0.5}


@pytest.mark.skipif(sys.platform == "win32", reason="no modes")
def test_private_files_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"older, and readable by all")
    path.chmod(0o644)
    with WavWriter(path, 16000, private=True) as writer:
        writer.write(noise(10))
        assert path.stat().st_mode & 0o777 == 0o600
    assert len(read_audio(path)[0]) == 10


def test_recordings_may_outgrow_32_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    data_bytes = 5 * 2**30
    with path.open("wb") as file:
        file.write(wav_header(48000, data_bytes))
        file.truncate(len(wav_header(48000, 0)) + data_bytes)  # sparse: takes no space
    assert audio_info(path) == AudioInfo(48000, 1, data_bytes // 2)
    assert len(wav_header(48000, data_bytes)) == len(wav_header(48000, 0)) == 80
    assert struct.unpack("<I", wav_header(48000, 100)[4:8])[0] == 172
