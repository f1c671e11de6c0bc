"""The reference clips of a folder, by the names of their voices."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from fast_vc_service.audio.files import AudioFileError, audio_info
from fast_vc_service.process.names import shown
from fast_vc_service.protocol.voice_choice import normal_name

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
"""Kinds of reference clips; of two with the same name the first kind counts."""


NAME_RULE = "1 to 64 letters, digits, spaces and . _ -, not beginning with a space, . or -"


_SAFE_NAME = re.compile(r"\w[\w .-]{0,63}")


@dataclass(frozen=True)
class Clip:
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
        self._findings: dict[Clip, str | None] = {}

    def clips(self) -> dict[str, Clip]:
        """Return the clip of each voice by name, sorted."""
        return dict(sorted(self._survey()[0].items()))

    def problems(self) -> dict[str, str]:
        """Return why clips of the folder make no voice, by file name as it can be shown."""
        return self._survey()[1]

    def report(self, clip: Clip, reason: str | None) -> None:
        """Note, and log, why ``clip`` makes no voice; it holds until the file changes."""
        with self._lock:
            if self._findings.get(clip) == reason and clip in self._findings:
                return
            self._findings[clip] = reason
        if reason is not None:
            logger.warning("{} makes no voice: {}", shown(clip.path.name), reason)

    def _survey(self) -> tuple[dict[str, Clip], dict[str, str]]:
        """Return the usable clips by voice name, and the reasons against others by file name."""
        clips: dict[str, Clip] = {}
        problems: dict[str, str] = {}
        for clip in _clips(self._folder):
            name = normal_name(clip.path.stem)
            reason = self._inspect(clip, name)
            if reason is None and name in clips:
                reason = f"{shown(clips[name].path.name)} already makes the voice {name!r}"
            if reason is None:
                clips[name] = clip
            else:
                problems[shown(clip.path.name)] = reason
        return clips, problems

    def _inspect(self, clip: Clip, name: str) -> str | None:
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


def _clips(folder: Path) -> list[Clip]:
    """Return the files that look like clips, by name, then by kind."""
    if not folder.is_dir():
        return []
    found: list[Clip] = []
    for path in folder.iterdir():
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            with suppress(OSError):  # gone since it was listed
                state = path.stat()
                found.append(Clip(path, state.st_mtime_ns, state.st_size))
    return sorted(found, key=_precedence)


def _precedence(clip: Clip) -> tuple[str, int, str]:
    return clip.path.stem, SUFFIXES.index(clip.path.suffix.lower()), clip.path.name


def is_voice_name(name: str) -> bool:
    """Tell whether a voice may be called ``name``."""
    return _SAFE_NAME.fullmatch(name) is not None
