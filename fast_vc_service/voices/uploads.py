"""Voices that users have added: a folder each, with clip, features and what is known of it.

A voice's folder is named by a hash of its owner and name, so nothing a client says is a path; it
is filled under another name and renamed once complete, so that nothing half-written is ever seen.
The clip is kept as FLAC, since features are made anew for another engine or version.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from fast_vc_service.contract import Voice
from fast_vc_service.protocol.checks import is_unicode
from fast_vc_service.voices.clip_check import ClipCheck
from fast_vc_service.voices.voice_file import save_voice

CLIP, RECORD = "clip.flac", "voice.json"
SCHEMA = 1

ABANDONED_S = 3600.0
"""Age of a folder under construction after which whoever built it is taken for dead."""

_UNFINISHED = ".unfinished-"
_REMOVED = ".removed-"


class VoiceExistsError(ValueError):
    """There is a voice of that name already."""


@dataclass(frozen=True)
class VoiceRecord:
    """What is known of an added voice, beside its clip and its features.

    Attributes:
        name: What sessions choose it by.
        owner: Name of the API key it belongs to; None is everybody's.
        description: The owner's words.
        created_at: Seconds since the epoch.
        check: What was found out about its clip.
    """

    name: str
    owner: str | None
    description: str | None
    created_at: float
    check: ClipCheck


class UploadedVoices:
    """The added voices under one folder; safe to use from many threads and processes.

    Args:
        folder: Made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._read: dict[str, tuple[int, VoiceRecord | None]] = {}

    def records(self) -> list[VoiceRecord]:
        """List all added voices; a damaged record is logged and left out."""
        try:
            names = sorted(path.name for path in self._folder.iterdir())
        except FileNotFoundError:
            return []
        found = (self._record(name) for name in names if not name.startswith("."))
        return [record for record in found if record is not None]

    def find(self, name: str, owner: str | None) -> VoiceRecord | None:
        """Return the voice that ``owner`` calls ``name``, or None."""
        return self._record(_folder_name(name, owner))

    def stamp(self, record: VoiceRecord) -> int | None:
        """Return a number that changes when the voice is replaced; None when it is gone."""
        try:
            return (self.place(record) / RECORD).stat().st_mtime_ns
        except OSError:
            return None

    def place(self, record: VoiceRecord) -> Path:
        """Return the folder of a voice."""
        return self._folder / _folder_name(record.name, record.owner)

    def clip(self, record: VoiceRecord) -> Path:
        """Return the reference clip of a voice."""
        return self.place(record) / CLIP

    def features(self, record: VoiceRecord, family: str) -> Path:
        """Return where the features of a voice are kept for a model family."""
        return self.place(record) / f"{family}.safetensors"

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """Give a folder for the clip of a new voice; unless it was kept, it is gone afterwards.

        Raises:
            OSError: It cannot be made.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = self._folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, folder: Path, record: VoiceRecord, voice: Voice) -> None:
        """Keep a voice: all of it, or nothing.

        Args:
            folder: Of :meth:`unfinished`, with its clip in it.
            record: What is known of it.
            voice: Its features.

        Raises:
            VoiceExistsError: The owner has one of that name.
            OSError: It cannot be written.
        """
        save_voice(folder / f"{voice.family}.safetensors", voice)
        members = {**asdict(record), "check": record.check.as_json()}
        content = {"schema": SCHEMA, **members, "consent": True}
        (folder / RECORD).write_text(json.dumps(content, indent=2), encoding="utf-8")
        for path in folder.iterdir():
            _sync(path)
        _sync(folder)
        try:
            # Fails when the target is there: a folder with content is never replaced.
            folder.rename(self.place(record))
        except OSError as error:
            if self.place(record).exists():
                raise VoiceExistsError(
                    f"there is a voice {record.name!r} already; remove it first or choose "
                    "another name"
                ) from error
            raise
        _sync(self._folder)

    def remove(self, record: VoiceRecord) -> bool:
        """Delete a voice with all that was made of it; False when it was gone already."""
        gone = self._folder / f"{_REMOVED}{secrets.token_hex(8)}"
        try:
            self.place(record).rename(gone)
        except FileNotFoundError:
            return False
        _sync(self._folder)
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def sweep(self) -> None:
        """Delete what a crash has left: voices half written and voices half removed."""
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            unfinished = path.name.startswith(_UNFINISHED)
            if path.name.startswith(_REMOVED) or (
                unfinished and time.time() - path.stat().st_mtime > ABANDONED_S
            ):
                shutil.rmtree(path, ignore_errors=True)

    def _record(self, folder: str) -> VoiceRecord | None:
        path = self._folder / folder / RECORD
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            return None
        with self._lock:
            known = self._read.get(folder)
        if known is not None and known[0] == stamp:
            return known[1]
        record = _read(path)
        if record is not None and _folder_name(record.name, record.owner) != folder:
            logger.warning("{}: its name is not that of its folder; left out", path)
            record = None
        with self._lock:
            self._read[folder] = (stamp, record)
        return record


def _read(path: Path) -> VoiceRecord | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}, got {content['schema']!r}")
        for member in ("name", "owner", "description"):
            text = content[member]
            # One record that cannot be told must not break the list for all.
            if not (isinstance(text, str) and is_unicode(text)) and (member == "name" or text):
                raise ValueError(f"{member}: expected a text in Unicode")
        return VoiceRecord(
            name=content["name"],
            owner=content["owner"],
            description=content["description"],
            created_at=float(content["created_at"]),
            check=ClipCheck.from_json(content["check"]),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("{} cannot be read, the voice is left out: {}", path, error)
        return None


def _folder_name(name: str, owner: str | None) -> str:
    return hashlib.sha256(json.dumps([owner, name]).encode()).hexdigest()[:32]


def _sync(path: Path) -> None:
    """Have a file or folder written to the disk, so that a rename after it is the last to be."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
