"""Audio files: reading whatever libsndfile reads, writing 16-bit PCM."""

from __future__ import annotations

import errno
import itertools
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soundfile

from fast_vc_service.audio.containers import Source, opened
from fast_vc_service.audio.mixdown import MixPlan
from fast_vc_service.audio.pcm import limit, to_int16
from fast_vc_service.contract import FloatArray
from fast_vc_service.process.disk import why_unwritable

_BLOCK_FRAMES = 1 << 18
_HEADER_BYTES = 80
_FLOAT = {"FLOAT", "DOUBLE"}
_SYSTEM_ERROR = 2  # of libsndfile (SF_ERR_SYSTEM)
_WILD = 1e4  # samples beyond are damage, and clipped


class AudioFileError(ValueError):
    """A file cannot be read or written as audio; the message says why and what would do."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file is.

    Attributes:
        sample_rate: Hz.
        channels: Interleaved channels.
        frames: Samples of each channel.
        peak: Largest sample of a float file that exceeds full scale and is scaled to it; else 1.
    """

    sample_rate: int
    channels: int
    frames: int
    peak: float = 1.0

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def audio_info(path: str | Path) -> AudioInfo:
    """Return what the header of an audio file says; :func:`count_audio` says what is there.

    Raises:
        AudioFileError: Missing, empty, no audio, or unreadable.
    """
    with _open(Path(path)) as file:
        return AudioInfo(file.samplerate, file.channels, file.frames)


def count_audio(path: str | Path) -> AudioInfo:
    """Decode a file once to learn how long it really is, and how loud.

    Raises:
        AudioFileError: Missing, empty, no audio, or unreadable.
    """
    with _open(Path(path)) as file:
        frames = 0
        peak = 1.0
        for samples in _raw(file, _BLOCK_FRAMES):
            frames += len(samples)
            if file.subtype in _FLOAT:
                sizes = np.abs(samples)
                peak = max(peak, float(sizes[sizes < _WILD].max(initial=0.0)))
        if not frames:
            raise AudioFileError(f"{path}: holds no samples; the file is truncated or damaged")
        return AudioInfo(file.samplerate, file.channels, frames, peak)


def read_audio(path: str | Path) -> tuple[FloatArray, int]:
    """Read a whole file: mono ``[n]`` (see :mod:`mixdown`) within [-1, 1], and its rate.

    Raises:
        AudioFileError: Missing, empty, no audio, or unreadable.
    """
    path = Path(path)
    # Block by block: a header may claim far more samples than the file holds.
    blocks = list(iter_audio(path))
    if not blocks:
        raise AudioFileError(f"{path}: holds no samples; the file is truncated or damaged")
    return np.concatenate(blocks), audio_info(path).sample_rate


def iter_audio(
    path: str | Path, block_s: float = 1.0, *, longest_s: float | None = None
) -> Iterator[FloatArray]:
    """Read a file of any length block by block, as :func:`read_audio` does in one piece.

    A float file above full scale is scaled to it as a whole, not clipped.

    Args:
        path: The file; opened at the first block.
        block_s: Seconds a block; the last one is shorter.
        longest_s: Seconds that are looked at to learn how the channels are mixed; None for all.

    Yields:
        Mono ``[n]`` at the file's own rate.

    Raises:
        AudioFileError: Missing, empty, no audio, or unreadable.
    """
    path = Path(path)
    scale, plan = _prepared(path, longest_s)
    with _open(path) as file:
        position = 0
        for frames in _raw(file, max(1, round(block_s * file.samplerate))):
            heard = limit(frames * scale if scale < 1.0 else frames)
            yield heard[:, 0] if plan is None else plan.mixed(heard, position)
            position += len(frames)


def _prepared(path: Path, longest_s: float | None) -> tuple[np.float32, MixPlan | None]:
    """Scale of a file's samples, and how its channels are mixed; None where there is one."""
    with _open(path) as file:
        if file.subtype not in _FLOAT and file.channels == 1:
            return np.float32(1.0), None
        info = count_audio(path) if file.subtype in _FLOAT else None
        scale = np.float32(1.0 / info.peak if info else 1.0)
        if file.channels == 1:
            return scale, None
        most = None if longest_s is None else int(longest_s * file.samplerate) // _BLOCK_FRAMES + 1
        raw = itertools.islice(_raw(file, _BLOCK_FRAMES), most)
        blocks = (limit(frames * scale) for frames in raw)
        return scale, MixPlan.of(blocks, file.samplerate, file.channels)


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
        with telling_why(path):
            soundfile.write(path, to_int16(samples), rate, subtype=subtype, format=name)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioFileError(f"{path}: cannot be written as {name}: {error}") from error


@contextmanager
def telling_why(path: Path) -> Iterator[None]:
    """Have libsndfile tell why ``path`` cannot be written; by itself it says "System error".

    Raises:
        OSError: With the number and the words of the system.
    """
    try:
        yield
    except soundfile.LibsndfileError as error:
        # Of a FLAC without its head it says that a decoder could not be initialised.
        why = why_unwritable(path)
        if why is None and error.code == _SYSTEM_ERROR:
            # There is room for a little again, or for nothing but that.
            why = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if why is None:
            raise
        raise why from error


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
        data = to_int16(samples).tobytes()
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


def _raw(file: Source, size: int) -> Iterator[FloatArray]:
    while len(frames := file.read(size)):
        yield frames


@contextmanager
def _open(path: Path) -> Iterator[Source]:
    if not path.is_file():
        what = "a folder, not an audio file" if path.is_dir() else "no such file"
        raise AudioFileError(f"{path}: {what}")
    try:
        if not path.stat().st_size:
            raise AudioFileError(f"{path}: the file is empty (0 bytes); expected audio")
        with opened(path) as file:
            if not file.frames:
                raise AudioFileError(f"{path}: has a header but no samples; expected audio")
            yield file
    except ModuleNotFoundError as error:
        raise AudioFileError(str(error)) from error
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioFileError(
            f"{path}: cannot be read as audio ({error}); expected a file libsndfile knows, "
            "such as WAV, FLAC, OGG or MP3"
        ) from error
