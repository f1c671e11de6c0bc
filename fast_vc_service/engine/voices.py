"""Voices a service offers: one for each reference clip in a folder, made once, kept as data.

A voice is chosen by name; names come from the listing of the folder, so nothing that a client
says is ever used as a path.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from loguru import logger

from fast_vc_service import __version__
from fast_vc_service.audio.files import AudioFileError, audio_info, read_audio
from fast_vc_service.contract import Converter, FloatArray, Voice
from fast_vc_service.engine.voice_check import check_clip

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
"""Kinds of reference clips; of two with the same name the first kind counts."""

NAME_RULE = "1 to 64 letters, digits, spaces and . _ -, not beginning with a space, . or -"

_SAFE_NAME = re.compile(r"\w[\w .-]{0,63}")


class UnknownVoiceError(LookupError):
    """No voice has this name.

    Attributes:
        name: What was asked for.
        available: The names there are.
    """

    def __init__(self, name: str, available: Sequence[str]) -> None:
        self.name = name
        self.available = tuple(available)
        listed = ", ".join(self.available) or "none"
        super().__init__(f"unknown voice {name!r}; available: {listed}")


@dataclass(frozen=True)
class _Clip:
    """A file of the folder as it was when looked at."""

    path: Path
    modified_ns: int
    size: int


class ClipFolder:
    """The reference clips of a folder; a clip's stem is its voice's name. Safe to use from threads.

    Args:
        folder: Holds the clips, and perhaps other things.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._findings: dict[_Clip, str | None] = {}

    def clips(self) -> dict[str, _Clip]:
        """Return the clip of each voice by name, sorted."""
        return dict(sorted(self._survey()[0].items()))

    def problems(self) -> dict[str, str]:
        """Return why clips of the folder make no voice, by file name."""
        return self._survey()[1]

    def report(self, clip: _Clip, reason: str | None) -> None:
        """Note, and log, why ``clip`` makes no voice; it holds until the file changes."""
        with self._lock:
            if self._findings.get(clip) == reason and clip in self._findings:
                return
            self._findings[clip] = reason
        if reason is not None:
            logger.warning("{} makes no voice: {}", clip.path.name, reason)

    def _survey(self) -> tuple[dict[str, _Clip], dict[str, str]]:
        """Return the usable clips by voice name, and the reasons against others by file name."""
        clips: dict[str, _Clip] = {}
        problems: dict[str, str] = {}
        for clip in _clips(self._folder):
            name = normal_name(clip.path.stem)
            reason = self._inspect(clip, name)
            if reason is None and name in clips:
                reason = f"{clips[name].path.name} already makes the voice {name!r}"
            if reason is None:
                clips[name] = clip
            else:
                problems[clip.path.name] = reason
        return clips, problems

    def _inspect(self, clip: _Clip, name: str) -> str | None:
        """Return why ``clip`` is of no use, or None; each state of a file is looked at once."""
        with self._lock:
            if clip in self._findings:
                return self._findings[clip]
        reason = None
        if not is_voice_name(name):
            reason = f"its name must be {NAME_RULE}"
        else:
            try:
                audio_info(clip.path)
            except AudioFileError as error:
                reason = str(error)
        self.report(clip, reason)
        return reason


class VoiceStore:
    """The voices of one folder for one converter; safe to use from many threads.

    Args:
        folder: Holds reference clips; a clip's stem is its voice's name.
        converter: Makes the voices.
        cache_dir: Where made voices are kept between runs; None keeps none.
        default: Name of the voice for sessions that choose none. Looked up like any other.
        checks_clips: Whether to log what makes a voice worse than it could be.
    """

    def __init__(
        self,
        folder: Path,
        converter: Converter,
        cache_dir: Path | None,
        default: str,
        *,
        checks_clips: bool = False,
    ) -> None:
        self.default = default
        self._clips = ClipFolder(folder)
        self._converter = converter
        self._cache_dir = cache_dir
        self._checks_clips = checks_clips
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._voices: dict[str, Voice] = {}

    def names(self) -> list[str]:
        """List the voices, sorted; what cannot be one is logged and told by :meth:`problems`."""
        return list(self._clips.clips())

    def problems(self) -> dict[str, str]:
        """Return why clips of the folder make no voice, by file name."""
        return self._clips.problems()

    def clips(self) -> dict[str, Path]:
        """Return the reference clip of each voice by name, sorted."""
        return {name: clip.path for name, clip in self._clips.clips().items()}

    def made(self, name: str) -> Voice | None:
        """Return the voice if it was made before, without touching the disk."""
        return self._voices.get(normal_name(name))

    def get(self, name: str) -> Voice:
        """Return a voice; its first use takes as long as reading the clip and making it does.

        A made voice is kept for as long as the store, even if its clip changes.

        Raises:
            UnknownVoiceError: No clip has this name, or the clip was found to make no voice.
            ValueError: Found just now: the clip cannot make a voice; the message says why.
        """
        name = normal_name(name)
        made = self._voices.get(name)
        if made is not None:
            return made
        clips = self._clips.clips()
        clip = clips.get(name)
        if clip is None:
            raise UnknownVoiceError(name, list(clips))
        with self._lock:
            making = self._making.setdefault(name, threading.Lock())
        with making:
            if name not in self._voices:
                self._voices[name] = self._make(name, clip)
            return self._voices[name]

    def _make(self, name: str, clip: _Clip) -> Voice:
        try:
            return prepare_voice(
                self._converter,
                name,
                clip.path,
                self._cache_path(clip),
                check=self._checks_clips,
            )
        except ValueError as error:
            # Known from now on: not tried again until the file changes.
            self._clips.report(clip, str(error))
            raise

    def _cache_path(self, clip: _Clip) -> Path | None:
        if self._cache_dir is None:
            return None
        try:
            digest = hashlib.sha256(clip.path.read_bytes()).hexdigest()
        except OSError as error:
            raise ValueError(f"{clip.path} cannot be read: {error}") from error
        with suppress(OSError):  # told when the voice cannot be kept
            self._cache_dir.mkdir(parents=True, exist_ok=True)
        return self._cache_dir / f"{self._converter.family}-{digest[:32]}.safetensors"


def prepare_voice(
    converter: Converter, name: str, clip: Path, kept: Path | None, *, check: bool = False
) -> Voice:
    """Return the voice kept at ``kept``, or make it of ``clip`` and keep it there.

    With ``check``, what makes a new voice worse than it could be is logged.

    Raises:
        ValueError: The clip makes no voice; the message says why.
    """
    if kept is not None and kept.is_file():
        try:
            return replace(load_voice(kept), name=name)
        except ValueError as error:
            logger.info("voice {} is made anew: {}", name, error)
    audio, sample_rate = read_audio(clip)
    voice = converter.make_voice(name, audio, sample_rate)
    if check:
        warn_of_doubts(name, audio, sample_rate)
    if kept is not None:
        try:
            save_voice(kept, voice)
        except OSError as error:
            logger.warning("voice {} is not kept for the next start: {}", name, error)
    return voice


def warn_of_doubts(name: str, audio: FloatArray, sample_rate: int) -> None:
    """Log what makes the voice ``name`` worse than a clip ``[n]`` of another kind would."""
    check = check_clip(audio, sample_rate)
    for reason in (*check.problems, *check.doubts):
        logger.warning("voice {}: {}", name, reason)


def save_voice(path: Path, voice: Voice) -> None:
    """Write a voice as one safetensors file; readers see the old file or the whole new one.

    Raises:
        OSError: The file cannot be written.
    """
    metadata = {"name": voice.name, "family": voice.family, "version": __version__}
    tensors = {key: np.ascontiguousarray(value) for key, value in voice.features.items()}
    data = safetensors.numpy.save(tensors, metadata)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def load_voice(path: Path) -> Voice:
    """Read a voice that :func:`save_voice` wrote.

    Raises:
        ValueError: Missing, damaged, or written by another version, whose features may differ.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            features = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} is no readable voice: {error}") from error
    if metadata.get("version") != __version__:
        raise ValueError(
            f"{path} was made by version {metadata.get('version')}, expected {__version__}"
        )
    return Voice(metadata.get("name", path.stem), metadata.get("family", ""), features)


def _clips(folder: Path) -> list[_Clip]:
    """Return the files that look like clips, by name, then by kind."""
    if not folder.is_dir():
        return []
    found: list[_Clip] = []
    for path in folder.iterdir():
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            with suppress(OSError):  # gone since it was listed
                state = path.stat()
                found.append(_Clip(path, state.st_mtime_ns, state.st_size))
    return sorted(found, key=_precedence)


def _precedence(clip: _Clip) -> tuple[str, int, str]:
    return clip.path.stem, SUFFIXES.index(clip.path.suffix.lower()), clip.path.name


def is_voice_name(name: str) -> bool:
    """Tell whether a voice may be called ``name``."""
    return _SAFE_NAME.fullmatch(name) is not None


def normal_name(name: str) -> str:
    """Return ``name`` composed: some file systems take accents off their letters."""
    return unicodedata.normalize("NFC", name)
