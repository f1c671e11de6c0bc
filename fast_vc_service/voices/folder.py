"""Voices a service offers: one for each reference clip in a folder, made once, kept as data.

A voice is chosen by name; names come from the listing of the folder, so nothing that a client
says is ever used as a path.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from loguru import logger

from fast_vc_service.contract import Converter, Voice
from fast_vc_service.protocol.voice_choice import normal_name
from fast_vc_service.voices.clip_check import log_clip_warnings
from fast_vc_service.voices.clip_folder import Clip, ClipFolder
from fast_vc_service.voices.front_end import made_with
from fast_vc_service.voices.making import MakerHere, VoiceMaker
from fast_vc_service.voices.voice_file import load_voice, save_voice


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


class VoiceStore:
    """The voices of one folder for one converter; safe to use from many threads.

    Args:
        folder: Holds reference clips; a clip's stem is its voice's name.
        converter: Speaks with the voices.
        cache_dir: Where made voices are kept between runs; None keeps none.
        default: Name of the voice for sessions that choose none. Looked up like any other.
        checks_clips: Whether to log what makes a voice worse than it could be.
        maker: Makes the voices; None makes them here.
    """

    def __init__(
        self,
        folder: Path,
        converter: Converter,
        cache_dir: Path | None,
        default: str,
        *,
        checks_clips: bool = False,
        maker: VoiceMaker | None = None,
    ) -> None:
        self.default = default
        self._clips = ClipFolder(folder)
        self._family = converter.family
        self._here = MakerHere(converter)
        self._maker = maker or self._here
        self._cache_dir = cache_dir
        self._checks_clips = checks_clips
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._voices: dict[str, Voice] = {}

    def names(self) -> list[str]:
        """List the voices, sorted; files that make none are logged, see :meth:`problems`."""
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

    def get(self, name: str, *, here: bool = False) -> Voice:
        """Return a voice; its first use takes as long as reading the clip and making it does.

        A made voice is kept for as long as the store, even if its clip changes.

        Args:
            name: Of the voice.
            here: Whether it is made in this process if it has to be, since nobody is disturbed.

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
                self._voices[name] = self._make(name, clip, self._here if here else self._maker)
            return self._voices[name]

    def _make(self, name: str, clip: Clip, maker: VoiceMaker) -> Voice:
        kept = self._cache_path(clip)
        try:
            return prepare_voice(
                maker, self._family, name, clip.path, kept, check=self._checks_clips
            )
        except ValueError as error:
            # Known from now on: not tried again until the file changes.
            self._clips.report(clip, str(error))
            raise

    def _cache_path(self, clip: Clip) -> Path | None:
        if self._cache_dir is None:
            return None
        try:
            digest = hashlib.sha256(clip.path.read_bytes()).hexdigest()
        except OSError as error:
            raise ValueError(f"{clip.path} cannot be read: {error}") from error
        with suppress(OSError):  # told when the voice cannot be kept
            self._cache_dir.mkdir(parents=True, exist_ok=True)
        return self._cache_dir / f"{self._family}-{digest[:32]}.safetensors"


def prepare_voice(
    maker: VoiceMaker, family: str, name: str, clip: Path, kept: Path | None, *, check: bool = False
) -> Voice:
    """Return the voice of ``family`` kept at ``kept``, or make it of ``clip`` and keep it there.

    With ``check``, what makes a new voice worse than it could be is logged.

    Raises:
        ValueError: The clip makes no voice; the message says why.
    """
    if kept is not None and kept.is_file():
        try:
            return replace(load_voice(kept, made_with(family)), name=name)
        except ValueError as error:
            logger.info("voice {} is made anew: {}", name, error)
    made = maker.of_clip(name, clip, check=check)
    if made.check is not None:
        log_clip_warnings(name, made.check)
    if kept is not None:
        try:
            save_voice(kept, made.voice)
        except OSError as error:
            logger.warning("voice {} is not kept for the next start: {}", name, error)
    return made.voice
