"""Opening audio as it is: unfinished recordings, tags in front, files that were cut off.

libsndfile reads most of it; what it does not, is told to it otherwise (:func:`opened`), and what
phones and browsers record is read through PyAV where that is installed.
"""

from __future__ import annotations

import importlib.util
import io
import os
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile

from fast_vc_service.contract import FloatArray

UNKNOWN_FRAMES = 1 << 62
"""At least so many frames are claimed by a file that does not know its length."""

_ID3_BYTES = 10
_CHUNK_BYTES = 8
_MEDIA = "m4a, mp4, aac or webm"
_FFMPEG_FORMATS = {b"ftyp": "mov", b"\x1a\x45\xdf\xa3": "matroska"}


class Source(Protocol):
    """What is asked of an open file."""

    samplerate: int
    channels: int
    format: str
    subtype: str
    frames: int

    def read(self, frames: int) -> FloatArray:
        """Return the next ``[n, channels]``, n at most ``frames``; none at the end."""
        ...


def id3_bytes(head: bytes) -> int:
    """Return the length of the ID3 tag that a file's first 10 bytes begin; 0 without one."""
    if head[:3] != b"ID3" or len(head) < _ID3_BYTES:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return _ID3_BYTES + size


def is_media(head: bytes) -> bool:
    """Tell by a file's first 12 bytes whether it is one of phones and browsers."""
    return _ffmpeg_format(head) is not None


def _ffmpeg_format(head: bytes) -> str | None:
    """What FFmpeg calls the kind of a file by its first 12 bytes; None for other files."""
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    return _FFMPEG_FORMATS.get(head[4:8]) or _FFMPEG_FORMATS.get(head[:4])


def reads_media() -> bool:
    """Tell whether files of phones and browsers can be read."""
    return importlib.util.find_spec("av") is not None


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a file.

    Raises:
        OSError: It cannot be read.
        soundfile.SoundFileError: It is no audio that is known.
        ModuleNotFoundError: It needs PyAV; the message says what to do.
    """
    with path.open("rb") as raw:
        head = raw.read(12)
        if (form := _ffmpeg_format(head)) is not None:
            try:
                found = _Media(path, form)
            except UnicodeEncodeError as error:
                raise soundfile.SoundFileRuntimeError(
                    f"{path}: its name is no UTF-8; rename it"
                ) from error
            with closing(found) as media:
                yield media
            return
        start = id3_bytes(head)
        raw.seek(start)
        sizes = _unfinished_sizes(raw, start)
    if sizes:
        with _Patched(path, start, sizes) as view, soundfile.SoundFile(view) as file:
            yield _Plain(file)
    else:
        with soundfile.SoundFile(_named(path)) as file:
            yield _Plain(file)


def _named(path: Path) -> str | bytes:
    """Return ``path`` as soundfile takes it: a name that is no UTF-8 it takes as bytes alone."""
    name = os.fsencode(path)
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name


def _unfinished_sizes(raw: io.BufferedReader, start: int) -> dict[int, bytes]:
    """Sizes of a WAV file whose recorder never wrote them, by their places; empty otherwise."""
    if raw.read(4) != b"RIFF" or raw.seek(start + 8) < 0 or raw.read(4) != b"WAVE":
        return {}
    end = raw.seek(0, io.SEEK_END) - start
    place = 12
    while place + _CHUNK_BYTES <= end:
        raw.seek(start + place)
        name, size = struct.unpack("<4sI", raw.read(_CHUNK_BYTES))
        if name == b"data":
            if size or place + _CHUNK_BYTES == end:
                return {}
            rest = min(end - place - _CHUNK_BYTES, 2**32 - 1)
            return {
                4: struct.pack("<I", min(end - 8, 2**32 - 1)),
                place + 4: struct.pack("<I", rest),
            }
        place += _CHUNK_BYTES + size + size % 2
    return {}


class _Patched(io.RawIOBase):
    """A file from ``start`` on, with other bytes at some places."""

    def __init__(self, path: Path, start: int, patches: dict[int, bytes]) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._start = start
        self._patches = patches
        self._file.seek(start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            offset += self._start
        return self._file.seek(offset, whence) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start

    def readinto(self, buffer: Any) -> int:
        place = self.tell()
        data = bytearray(self._file.read(len(buffer)))
        for at, patch in self._patches.items():
            for index, byte in enumerate(patch):
                if 0 <= at + index - place < len(data):
                    data[at + index - place] = byte
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Plain:
    """A file of libsndfile that ends where it can no longer be decoded."""

    def __init__(self, file: soundfile.SoundFile) -> None:
        self._file = file
        self._ended = False
        self.samplerate, self.channels = file.samplerate, file.channels
        self.format, self.subtype, self.frames = file.format, file.subtype, file.frames

    def read(self, frames: int) -> FloatArray:
        if self._ended:
            return np.zeros((0, self.channels), np.float32)
        # What a failing read has decoded stands in the array all the same.
        out = np.full((frames, self.channels), np.nan, np.float32)
        try:
            return np.asarray(self._file.read(out=out))
        except soundfile.SoundFileError:
            self._ended = True
            return out[: int(np.argmax(np.isnan(out[:, 0]))) if np.isnan(out[:, 0]).any() else None]


class _Media:
    """A file that PyAV decodes: as what it begins like, whatever FFmpeg would take it for."""

    format, subtype, frames = "MEDIA", "", UNKNOWN_FRAMES

    def __init__(self, path: Path, form: str) -> None:
        try:
            import av
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                f"{path}: reading {_MEDIA} needs PyAV: pip install 'fast-vc-service[media]', or "
                f"convert the file first: ffmpeg -i {path.name} {path.stem}.wav"
            ) from None
        try:
            # Some formats name other files or addresses, which nobody here asked for.
            self._container = av.open(
                str(path), format=form, container_options={"protocol_whitelist": "file"}
            )
        except av.error.FFmpegError as error:
            raise soundfile.SoundFileRuntimeError(f"{path}: {error}") from error
        if not self._container.streams.audio:
            self.close()
            raise soundfile.SoundFileRuntimeError(f"{path}: holds no audio")
        stream = self._container.streams.audio[0]
        self.samplerate = int(stream.rate)
        self.channels = int(stream.channels)
        self._resampler = av.AudioResampler(format="fltp", layout=stream.layout.name)
        self._decoded = self._decode(stream, av.error.FFmpegError)
        self._rest = np.zeros((0, self.channels), np.float32)

    def read(self, frames: int) -> FloatArray:
        pieces, count = [self._rest], len(self._rest)
        while count < frames and (piece := next(self._decoded, None)) is not None:
            pieces.append(piece)
            count += len(piece)
        whole = np.concatenate(pieces)
        self._rest = whole[frames:]
        return whole[:frames]

    def _decode(self, stream: Any, fault: type[Exception]) -> Iterator[FloatArray]:
        try:
            for frame in self._container.decode(stream):
                for planar in self._resampler.resample(frame):
                    yield np.asarray(planar.to_ndarray().T, np.float32)
        except MemoryError:
            raise
        except fault:
            return  # cut off: what came before is what there is

    def close(self) -> None:
        self._container.close()
