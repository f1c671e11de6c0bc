"""Audio files: reading whatever libsndfile reads, writing 16-bit PCM."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soundfile

from fast_vc_service.audio.pcm import to_int16
from fast_vc_service.contract import FloatArray

_BLOCK_FRAMES = 1 << 18
_HEADER_BYTES = 80


class AudioFileError(ValueError):
    """A file cannot be read or written as audio; the message says why and what would do."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file's header says.

    Attributes:
        sample_rate: Hz.
        channels: Interleaved channels.
        frames: Samples of each channel.
    """

    sample_rate: int
    channels: int
    frames: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def audio_info(path: str | Path) -> AudioInfo:
    """Return what the header of an audio file says.

    Raises:
        AudioFileError: Missing, empty, no audio, or unreadable.
    """
    with _open(Path(path)) as file:
        return AudioInfo(file.samplerate, file.channels, file.frames)


def read_audio(path: str | Path) -> tuple[FloatArray, int]:
    """Read a whole file: mono ``[n]`` (the mean of its channels) within [-1, 1], and its rate.

    Raises:
        AudioFileError: Missing, empty, no audio, or unreadable.
    """
    path = Path(path)
    with _open(path) as file:
        # Block by block: a header may claim far more samples than the file holds.
        blocks = list(_blocks(file, _BLOCK_FRAMES))
        if not blocks:
            raise AudioFileError(f"{path}: holds no samples; the file is truncated or damaged")
        return np.concatenate(blocks), file.samplerate


def iter_audio(path: str | Path, block_s: float = 1.0) -> Iterator[FloatArray]:
    """Read a file of any length block by block, as :func:`read_audio` does in one piece.

    Args:
        path: The file; opened at the first block.
        block_s: Seconds a block; the last one is shorter.

    Yields:
        Mono ``[n]`` at the file's own rate.

    Raises:
        AudioFileError: Missing, empty, no audio, or unreadable.
    """
    with _open(Path(path)) as file:
        yield from _blocks(file, max(1, round(block_s * file.samplerate)))


def write_audio(
    path: str | Path,
    samples: FloatArray,
    rate: int,
    format: str | None = None,  # noqa: A002
) -> None:
    """Write mono ``[n]`` as 16-bit PCM, clipped at full scale.

    Formats without PCM (OGG, MP3) get their own default coding.

    Args:
        path: The file; replaced if there.
        samples: Audio to write.
        rate: Hz.
        format: A name libsndfile knows (``"WAV"``, ``"FLAC"``, ...); None goes by the suffix.

    Raises:
        AudioFileError: Unknown format, or the file cannot be written.
    """
    path = Path(path)
    name = (format or path.suffix.removeprefix(".")).upper()
    if name not in soundfile.available_formats():
        known = ", ".join(sorted(soundfile.available_formats()))
        raise AudioFileError(f"{path}: unknown audio format {name or '(none)'!r}; known: {known}")
    subtype = "PCM_16" if soundfile.check_format(name, "PCM_16") else None
    try:
        soundfile.write(path, to_int16(samples), rate, subtype=subtype, format=name)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioFileError(f"{path}: cannot be written as {name}: {error}") from error


class WavWriter:
    """Writes mono 16-bit WAV while audio arrives; playable at any moment.

    Nothing is buffered in the process and the header is renewed after each :meth:`write`, so a
    killed process loses no finished write. Beyond 4 GiB the header becomes RF64 (EBU Tech 3306).

    Args:
        path: The file; replaced if there. Its folder must exist.
        rate: Hz.
        private: Only the owner may read it (mode 0600).

    Raises:
        OSError: The file cannot be written; also from :meth:`write`.
    """

    def __init__(self, path: str | Path, rate: int, *, private: bool = False) -> None:
        path = Path(path)
        if private:
            # Unlinked first: whoever has an older file open must not see this one's audio.
            path.unlink(missing_ok=True)
            path.touch(mode=0o600, exist_ok=False)
        self._file = path.open("wb", buffering=0)
        self._rate = rate
        self._data_bytes = 0
        self._write_all(wav_header(rate, 0))

    def write(self, samples: FloatArray) -> None:
        """Append ``[n]`` samples, clipped at full scale."""
        data = to_int16(samples).astype("<i2", copy=False).tobytes()
        self._file.seek(_HEADER_BYTES + self._data_bytes)
        self._write_all(data)
        self._data_bytes += len(data)
        # Data first: a header never promises what is not there.
        self._file.seek(0)
        self._write_all(wav_header(self._rate, self._data_bytes))

    def close(self) -> None:
        """Close the file; does no harm twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]


def wav_header(rate: int, data_bytes: int) -> bytes:
    """Return the 80-byte header of a mono 16-bit WAV file with ``data_bytes`` of samples.

    It has room for the 64-bit sizes of RF64, used when 32 bits do not suffice.
    """
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    riff_bytes = 72 + data_bytes
    if riff_bytes < 2**32:
        riff = struct.pack("<4sI4s", b"RIFF", riff_bytes, b"WAVE")
        reserve = struct.pack("<4sI28x", b"JUNK", 28)
        return riff + reserve + form + struct.pack("<4sI", b"data", data_bytes)
    riff = struct.pack("<4sI4s", b"RF64", 2**32 - 1, b"WAVE")
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, riff_bytes, data_bytes, data_bytes // 2, 0)
    return riff + sizes + form + struct.pack("<4sI", b"data", 2**32 - 1)


def _blocks(file: soundfile.SoundFile, size: int) -> Iterator[FloatArray]:
    while len(frames := file.read(size, dtype="float32", always_2d=True)):
        frames[np.isnan(frames)] = 0.0
        yield np.clip(frames, -1.0, 1.0).mean(axis=1, dtype=np.float32)


@contextmanager
def _open(path: Path) -> Iterator[soundfile.SoundFile]:
    if not path.is_file():
        what = "a folder, not an audio file" if path.is_dir() else "no such file"
        raise AudioFileError(f"{path}: {what}")
    try:
        if not path.stat().st_size:
            raise AudioFileError(f"{path}: the file is empty (0 bytes); expected audio")
        with soundfile.SoundFile(path) as file:
            if not file.frames:
                raise AudioFileError(f"{path}: has a header but no samples; expected audio")
            yield file
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioFileError(
            f"{path}: cannot be read as audio ({error}); expected a file libsndfile knows, "
            "such as WAV, FLAC, OGG or MP3"
        ) from error
