"""A recording as a folder or an archive of its own."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from fast_vc_service.commands.recordings import Conversation, RecordingError, find, read
from fast_vc_service.commands.session import statistics_of
from fast_vc_service.sessions.recording import (
    open_private,
    write_document,
)


def export(outputs: Path, identifier: str, destination: Path, *, as_folder: bool = False) -> Path:
    """Copy a recording's audio, timeline and statistics out of the outputs folder.

    Args:
        outputs: The outputs folder.
        identifier: Which recording, as for :func:`find`.
        destination: An existing folder, in which ``<slug>.zip`` or ``<slug>/`` is made.
        as_folder: A folder instead of a zip file.

    Returns:
        What was made; only its owner may read it.

    Raises:
        RecordingError: No such recording, or the destination is missing or taken.
    """
    recording = find(outputs, identifier)
    conversation = read(recording)
    if not destination.is_dir():
        raise RecordingError(f"{destination}: expected an existing folder to export to")
    target = destination / (recording.slug if as_folder else f"{recording.slug}.zip")
    texts = {
        "timeline.json": _as_document(conversation),
        "statistics.json": json.dumps(statistics_of(conversation).figures, indent=2) + "\n",
    }
    audio = {kind: path for kind, path in recording.files.items() if kind.endswith(".wav")}
    try:
        if as_folder:
            _write_folder(target, texts, audio)
        else:
            _write_zip(target, texts, audio)
    except FileExistsError as error:
        raise RecordingError(f"{target}: is there already; remove it first") from error
    except OSError as error:
        raise RecordingError(f"{target}: cannot be written: {error}") from error
    return target


def _as_document(conversation: Conversation) -> str:
    document = io.StringIO()
    lines = (json.dumps(entry.as_dict()) for entry in conversation.timeline.entries)
    write_document(document, conversation.header, lines)
    return document.getvalue()


def _write_folder(target: Path, texts: Mapping[str, str], audio: Mapping[str, Path]) -> None:
    target.mkdir(mode=0o700)
    for name, text in texts.items():
        with open_private(target / name) as file:
            file.write(text.encode())
    for name, path in audio.items():
        with path.open("rb") as source, open_private(target / name) as file:
            shutil.copyfileobj(source, file)


def _write_zip(target: Path, texts: Mapping[str, str], audio: Mapping[str, Path]) -> None:
    with open_private(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
        for name, path in audio.items():
            archive.write(path, name)
