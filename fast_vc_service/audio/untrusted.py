"""Audio files that a stranger sent: what they are by their content, and how much is in them.

Neither name nor media type nor header is believed. Only a few kinds are opened at all, and a file
is decoded block by block and no further than it may be long, whatever its header promises.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from fast_vc_service.audio.containers import (
    UNKNOWN_FRAMES,
    id3_bytes,
    is_media,
    opened,
    reads_media,
)
from fast_vc_service.audio.files import (
    AudioFileError,
    AudioInfo,
    audio_info,
    iter_audio,
    telling_why,
)
from fast_vc_service.contract import FloatArray

RATES_HZ = (8_000, 192_000)
MAX_CHANNELS = 8

MEDIA = "M4A, MP4, AAC or WebM"

_FORMATS = {
    "WAV": {"WAV", "WAVEX", "RF64"},
    "FLAC": {"FLAC"},
    "OGG": {"OGG"},
    "MP3": {"MP3", "MPEG"},
    MEDIA: {"MEDIA"},
}
_DECODED_FORMAT = "RF64"  # WAV of any length
_HEAD_BYTES = 12


class TooLongError(AudioFileError):
    """A file holds more than it may."""


def kinds() -> str:
    """Return the kinds of files that are opened here, as a client is told them."""
    return f"WAV, FLAC, OGG, MP3, {MEDIA}" if reads_media() else "WAV, FLAC, OGG or MP3"


def sniff(head: bytes, behind: bytes = b"") -> str | None:
    """Return of which kind a file is by its first 12 bytes, None for anything else.

    Args:
        head: The bytes.
        behind: The first 12 behind an ID3 tag, which any kind may begin with.
    """
    if behind and (kind := sniff(behind)) is not None:
        return kind
    if head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE":
        return "WAV"
    if head[:4] == b"fLaC":
        return "FLAC"
    if head[:4] == b"OggS":
        return "OGG"
    if is_media(head):
        return MEDIA
    layer_3 = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2
    return "MP3" if head[:3] == b"ID3" or layer_3 else None


def examine(path: Path, *, max_s: float) -> AudioInfo:
    """Decode a file once to learn that it can be, and how long it really is.

    Args:
        path: The file.
        max_s: Seconds it may last at most.

    Returns:
        Rate, channels and the frames counted, not those its header claims.

    Raises:
        TooLongError: It lasts longer.
        AudioFileError: It is of no kind known here, damaged, empty, or of odd rate or channels.
    """
    info = _look(path, max_s)
    frames = sum(len(samples) for samples in _decode(path, info.sample_rate, max_s))
    return AudioInfo(info.sample_rate, info.channels, frames)


def decode(path: Path, target: Path, *, max_s: float) -> AudioInfo:
    """Write the samples of a file, mixed to one channel, as they are read of it, to the bit.

    Args:
        path: The file.
        target: The new one, a WAV file of float samples.
        max_s: Seconds it may last at most.

    Returns:
        Rate and channels of ``path``, and the frames counted.

    Raises:
        TooLongError: See :func:`examine`.
        AudioFileError: See :func:`examine`.
        OSError: ``target`` cannot be written.
    """
    info = _look(path, max_s)
    frames = 0
    blocks = _decode(path, info.sample_rate, max_s)
    with (
        telling_why(target),
        soundfile.SoundFile(
            target, "w", info.sample_rate, 1, format=_DECODED_FORMAT, subtype="FLOAT"
        ) as file,
    ):
        for samples in blocks:
            file.write(samples)
            frames += len(samples)
    return AudioInfo(info.sample_rate, info.channels, frames)


def read_untrusted(path: Path, *, max_s: float) -> tuple[FloatArray, int]:
    """Read a file of at most ``max_s`` seconds: mono ``[n]`` within [-1, 1], and its rate in Hz.

    Raises:
        TooLongError: See :func:`examine`.
        AudioFileError: See :func:`examine`.
    """
    info = _look(path, max_s)
    return np.concatenate(list(_decode(path, info.sample_rate, max_s))), info.sample_rate


def _decode(path: Path, rate: int, max_s: float) -> Iterator[FloatArray]:
    frames = 0
    try:
        for samples in iter_audio(path, longest_s=max_s):
            frames += len(samples)
            _check_length(frames, rate, max_s)
            yield samples
    except TooLongError:
        raise
    except AudioFileError as error:
        # Said without the path, which is ours and not the stranger's.
        raise AudioFileError("the file cannot be decoded: it is damaged") from error
    if not frames:
        raise AudioFileError("the file holds no samples: it is cut off or damaged")


def _look(path: Path, max_s: float) -> AudioInfo:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        tag = id3_bytes(head)
        file.seek(tag)
        kind = sniff(head, file.read(_HEAD_BYTES) if tag else b"")
    if kind is None:
        raise AudioFileError(f"the content is not that of a {kinds()} file")
    if kind == MEDIA and not reads_media():
        raise AudioFileError(f"a file of the kind {MEDIA} cannot be read here; convert it first")
    try:
        info = audio_info(path)
        with opened(path) as file:
            told = file.format
    except (AudioFileError, soundfile.SoundFileError) as error:
        raise AudioFileError(f"the {kind} file cannot be decoded: it is damaged") from error
    if told not in _FORMATS[kind]:
        raise AudioFileError(f"the content is not that of a {kinds()} file")
    if not RATES_HZ[0] <= info.sample_rate <= RATES_HZ[1]:
        raise AudioFileError(
            f"expected a sample rate from {RATES_HZ[0]} to {RATES_HZ[1]} Hz, "
            f"got {info.sample_rate} Hz"
        )
    if info.channels > MAX_CHANNELS:
        raise AudioFileError(f"expected at most {MAX_CHANNELS} channels, got {info.channels}")
    # An MP3 may be longer or shorter than its header estimates; the others lie if they do.
    if kind != "MP3" and info.frames < UNKNOWN_FRAMES:
        _check_length(info.frames, info.sample_rate, max_s)
    return info


def _check_length(frames: int, rate: int, max_s: float) -> None:
    if frames > max_s * rate:
        raise TooLongError(f"expected at most {max_s:g} s of audio, got more")
