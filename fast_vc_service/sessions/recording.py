"""What a recording is on disk: names, places, files; writing them and finding them again."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, Literal, TextIO

import numpy as np

from fast_vc_service.audio.files import WavWriter
from fast_vc_service.contract import FloatArray

Direction = Literal["input", "output"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("input", "output")

SAFE_CHARACTERS = 32
"""How much of a session id a slug keeps."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_FILE_NAME = re.compile(
    r"(?P<slug>[A-Za-z0-9_-]{1,32}-[0-9a-f]{8}-\d{8}T\d{12}Z)"
    r"_(?P<kind>input\.wav|output\.wav|timeline\.jsonl?|timeline\.json\.part)"
)
_EVENT_TYPES: Final[Mapping[Direction, str]] = {"input": "send", "output": "recv"}


def safe_part(session_id: str) -> str:
    """Return what of ``session_id`` (from the network, any string) may stand in a file name."""
    return _UNSAFE.sub("-", session_id[:SAFE_CHARACTERS])


def slug_head(session_id: str) -> str:
    """Return the part of a slug that depends on the session id alone.

    Its safe part, then 8 hex digits of its SHA-256: they tell apart what sanitising made equal.
    """
    digest = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{safe_part(session_id) or 'session'}-{digest[:8]}"


def make_slug(session_id: str, started: datetime) -> str:
    """Return the stem of a recording's file names: :func:`slug_head` and the start in UTC."""
    return f"{slug_head(session_id)}-{started.astimezone(UTC):%Y%m%dT%H%M%S%f}Z"


def event_line(direction: Direction, timestamp_s: float, cumulative_ms: float) -> str:
    """Return the timeline entry of one piece of audio as a line of JSON."""
    return (
        f'{{"timestamp": {timestamp_s:.6f}, "cumulative_ms": {cumulative_ms:.3f},'
        f' "event_type": "{_EVENT_TYPES[direction]}"}}\n'
    )


def write_document(target: TextIO, header: Mapping[str, object], lines: Iterable[str]) -> None:
    """Write a timeline document: ``header``'s members, then ``entries``, one a line.

    Works line by line: a day's timeline never lies in memory.
    """
    target.write(json.dumps(header)[:-1] + ', "entries": [')
    separator = "\n"
    for line in lines:
        target.write(separator + line.rstrip("\n"))
        separator = ",\n"
    target.write("\n]}\n")


class RecordingFiles:
    """The files of one recording, being written; not thread-safe.

    Args:
        outputs: The outputs folder.
        slug: From :func:`make_slug`.
        session_id: As the client gave it; told in the timeline only.
        started: When the session began.
        rate_in: Hz of the input.
        rate_out: Hz of the output.
    """

    def __init__(
        self,
        outputs: Path,
        slug: str,
        session_id: str,
        started: datetime,
        *,
        rate_in: int,
        rate_out: int,
    ) -> None:
        started = started.astimezone(UTC)
        self._folder = outputs / f"{started:%Y}" / f"{started:%m}" / f"{started:%d}"
        self._outputs = outputs
        self._slug = slug
        self._header = {
            "session_id": session_id,
            "started": started.isoformat(),
            "sample_rate_in": rate_in,
            "sample_rate_out": rate_out,
        }
        self._rates: Mapping[Direction, int] = {"input": rate_in, "output": rate_out}
        self._audio: dict[Direction, WavWriter] = {}
        self._lines: int | None = None

    def write(
        self, audio: Mapping[Direction, Sequence[FloatArray]], event_lines: Sequence[str]
    ) -> None:
        """Append audio pieces ``[n]`` and timeline lines; the first call makes the files.

        Raises:
            OSError: The disk refused, or the recording exists already.
        """
        lines = self._open() if self._lines is None else self._lines
        for direction in DIRECTIONS:
            if audio[direction]:
                self._audio[direction].write(np.concatenate(audio[direction]))
        _write_all(lines, "".join(event_lines).encode())

    def finish(self, cut: str | None) -> None:
        """Close the files and turn the lines into the document.

        Args:
            cut: Why the recording ends before the session, or None.

        Raises:
            OSError: The disk refused.
        """
        self.abandon()
        lines = self._path("timeline.jsonl")
        part = self._path("timeline.json.part")
        with (
            lines.open(encoding="utf-8") as source,
            os.fdopen(_create_private(part), "w", encoding="utf-8") as target,
        ):
            source.readline()
            write_document(target, {**self._header, "cut": cut}, source)
        part.replace(self._path("timeline.json"))
        lines.unlink()

    def abandon(self) -> None:
        """Close the files as they are."""
        for writer in self._audio.values():
            with suppress(OSError):
                writer.close()
        self._audio = {}
        if self._lines is not None:
            os.close(self._lines)
            self._lines = None

    def _open(self) -> int:
        _make_private(self._folder, below=self._outputs)
        # Finished recordings have a wav but no lines any more; the lines are claimed exclusively.
        if (there := self._path("input.wav")).exists():
            raise FileExistsError(f"{there} exists already")
        lines = self._lines = _create_private(self._path("timeline.jsonl"))
        _write_all(lines, json.dumps(self._header).encode() + b"\n")
        for direction in DIRECTIONS:
            path = self._path(f"{direction}.wav")
            self._audio[direction] = WavWriter(path, self._rates[direction], private=True)
        return lines

    def _path(self, kind: str) -> Path:
        return self._folder / f"{self._slug}_{kind}"


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording found on disk, finished or not.

    Attributes:
        slug: Its name.
        day: The day (UTC) it began.
        files: Its files by kind: ``input.wav``, ``output.wav``, ``timeline.json`` (finished) or
            ``timeline.jsonl`` (running, or its process died).
    """

    slug: str
    day: date
    files: Mapping[str, Path]


def find_recordings(outputs: Path) -> Iterator[Recording]:
    """Yield the recordings under ``outputs``, newest day first; links are not followed.

    Anything that does not have the place and name of a recording is passed over.
    """
    for year in _subfolders(outputs, r"\d{4}"):
        for month in _subfolders(year, r"\d{2}"):
            for folder in _subfolders(month, r"\d{2}"):
                with suppress(ValueError):
                    day = date(int(year.name), int(month.name), int(folder.name))
                    yield from _recordings_of(folder, day)


def _recordings_of(folder: Path, day: date) -> Iterator[Recording]:
    found: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    for path in _listed(folder):
        match = _FILE_NAME.fullmatch(path.name)
        if match and path.is_file() and not path.is_symlink():
            found[match["slug"]][match["kind"]] = path
    for slug in sorted(found, key=lambda slug: slug.rpartition("-")[2], reverse=True):
        yield Recording(slug, day, found[slug])


def _subfolders(folder: Path, name: str) -> list[Path]:
    folders = [
        path
        for path in _listed(folder)
        if re.fullmatch(name, path.name, re.ASCII) and path.is_dir() and not path.is_symlink()
    ]
    return sorted(folders, reverse=True)


def _listed(folder: Path) -> list[Path]:
    """Return what is in ``folder``; nothing when it is gone (retention may run meanwhile)."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _make_private(folder: Path, *, below: Path) -> None:
    below.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in reversed([folder, *folder.parents]):
        if path.is_relative_to(below) and path != below:
            path.mkdir(mode=0o700, exist_ok=True)


def _create_private(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
