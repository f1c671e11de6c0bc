"""A file in another voice: block by block through the same Stream that live sessions use.

Only the resampling at both ends is another (soxr: files take any rate and need no short
look-ahead). What the converter makes keeps its own rate until it is brought to the one that is
written. The output is, to the sample, as long as the input.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from fast_vc_service.audio.f0 import median_f0_hz
from fast_vc_service.audio.files import AudioInfo, iter_audio, telling_why, wav_header
from fast_vc_service.audio.pcm import to_int16
from fast_vc_service.audio.resample import ClipResampler
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, FloatArray, Voice
from fast_vc_service.engine.stream import Stream, block_converter, pump

FileFormat = Literal["wav", "flac", "ogg"]

# MP3 is missing: it pads, so its output would not have the input's duration.
_CODINGS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS")}
_WAV_LIMIT_BYTES = 2**32 - 4096
_SAMPLE_BYTES = 2
_FLAC_HEADER_BYTES = 42


def convert_blocks(  # noqa: PLR0917 - as a session is described
    converter: Converter,
    voice: Voice,
    source: Path,
    info: AudioInfo,
    pitch_shift: float,
    sample_rate: int | None = None,
) -> Iterator[FloatArray]:
    """Yield the converted file ``[n]`` by ``[n]``; in all as long as the file.

    Args:
        converter: In file geometry.
        voice: Of its family.
        source: The file.
        info: What is known of it.
        pitch_shift: Semitones on top of the automatic register match.
        sample_rate: Hz of the result; the file's own where None.

    Raises:
        AudioFileError: The file is broken.
    """
    rate_out = sample_rate or info.sample_rate
    own_rate = converter.sample_rate_out
    stream = Stream(converter, rate_in=SAMPLE_RATE_IN, rate_out=own_rate)
    # The whole file is there: its register is right from the first word.
    known_f0_hz = median_f0_hz(iter_audio(source), info.sample_rate)
    convert = block_converter(converter, voice, pitch_shift, source_f0_hz=known_f0_hz)
    resample_in = ClipResampler(info.sample_rate, SAMPLE_RATE_IN)
    resample_out = ClipResampler(own_rate, rate_out)
    received = sent = 0

    def heard() -> Iterator[FloatArray]:
        nonlocal received
        for samples in iter_audio(source):
            received += len(samples)
            yield resample_in.push(samples)
        yield resample_in.flush()

    def counted(output: FloatArray, *, last: bool = False) -> FloatArray:
        nonlocal sent
        # The resamplers round the length; the count of samples read is what is due.
        due = frames_at(received, info.sample_rate, rate_out) - sent
        output = np.clip(output[:due], -1.0, 1.0)
        if last and len(output) < due:
            output = np.pad(output, (0, due - len(output)))
        sent += len(output)
        return output

    for converted in pump(stream, convert, heard()):
        yield counted(resample_out.push(converted))
    yield counted(resample_out.flush(), last=True)


def frames_at(frames: int, rate_in: int, rate_out: int) -> int:
    """Return the samples at ``rate_out`` Hz of what lasts ``frames`` samples at ``rate_in``."""
    return (2 * frames * rate_out + rate_in) // (2 * rate_in)


def write_blocks(
    blocks: Iterable[FloatArray],
    target: Path,
    *,
    info: AudioInfo,
    file_format: FileFormat,
    progress: Callable[[float], None],
) -> int:
    """Write a file under another name and rename it once it is complete.

    Args:
        blocks: Audio ``[n]`` each.
        target: The file; its folder must exist.
        info: Rate to write, and frames to come.
        file_format: What to write.
        progress: Called with the share (0 to 1) that is done; what it raises ends the writing.

    Returns:
        Samples written. Whatever is raised, no part of the file stays behind.

    Raises:
        OSError: The file cannot be written.
    """
    # The name may be as long as names can be.
    part = target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.part")
    name, subtype = _CODINGS[file_format]
    if file_format == "wav" and info.frames * _SAMPLE_BYTES > _WAV_LIMIT_BYTES:
        name = "RF64"
    written = 0
    try:
        with (
            telling_why(part),
            soundfile.SoundFile(
                part, "w", samplerate=info.sample_rate, channels=1, format=name, subtype=subtype
            ) as file,
        ):
            for samples in blocks:
                file.write(samples)
                written += len(samples)
                progress(min(1.0, written / info.frames))
        part.replace(target)
    finally:
        with suppress(OSError):  # a read-only disk refuses what is not there as well
            part.unlink(missing_ok=True)
    return written


def encode_blocks(
    blocks: Iterable[FloatArray], *, info: AudioInfo, file_format: FileFormat
) -> Iterator[bytes]:
    """Yield the bytes of a file while its audio is still being made.

    Args:
        blocks: Audio ``[n]`` each, ``info.frames`` samples in all.
        info: Rate, and the exact number of frames: the header comes first and holds it.
        file_format: What to write.
    """
    if file_format == "wav":
        yield wav_header(info.sample_rate, info.frames * _SAMPLE_BYTES)
        for samples in blocks:
            yield to_int16(samples).tobytes()
        return
    name, subtype = _CODINGS[file_format]
    sink = _Sink()
    header_due = file_format == "flac"
    with soundfile.SoundFile(
        sink, "w", samplerate=info.sample_rate, channels=1, format=name, subtype=subtype
    ) as file:
        for samples in blocks:
            file.write(samples)
            if header_due and len(sink.pending) >= _FLAC_HEADER_BYTES:
                _tell_length(sink.pending, info.frames)
                header_due = False
            if not header_due:
                yield sink.take()
    if header_due:
        _tell_length(sink.pending, info.frames)
    yield sink.take()


def media_type(file_format: FileFormat) -> str:
    """Return the media type of a format."""
    return f"audio/{file_format}"


class _Sink:
    """A file whose bytes are taken while it grows; later changes of earlier bytes are dropped."""

    def __init__(self) -> None:
        self.pending = bytearray()
        self._place = self._size = 0

    def take(self) -> bytes:
        """Return what was appended since the last call."""
        taken = bytes(self.pending)
        self.pending.clear()
        return taken

    def write(self, data: bytes) -> int:
        """Append ``data``; where something stands already, drop it."""
        data = bytes(data)
        new = data[max(0, self._size - self._place) :]
        self.pending += new
        self._place += len(data)
        self._size += len(new)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move; only the end can be written at."""
        self._place = offset + (0, self._place, self._size)[whence]
        return self._place

    def tell(self) -> int:
        """Return where the next byte goes."""
        return self._place

    def read(self, _size: int = -1) -> bytes:
        """Return nothing: what was written has been sent."""
        return b""


def _tell_length(header: bytearray, frames: int) -> None:
    """Put the number of samples into a FLAC stream info block (36 bits; RFC 9639, 8.2)."""
    header[21] = (header[21] & 0xF0) | (frames >> 32 & 0x0F)
    header[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
