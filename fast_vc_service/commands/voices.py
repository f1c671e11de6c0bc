"""``fast-vc voices``: the voices of a service, from the machine it runs on.

Works on the folders the service uses, whether or not it runs; a running one sees the changes.
"""

from __future__ import annotations

import json
import tempfile
import time
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import soundfile

from fast_vc_service.audio.files import AudioFileError, audio_info, read_audio, telling_why
from fast_vc_service.audio.pcm import to_int16
from fast_vc_service.audio.untrusted import read_untrusted
from fast_vc_service.engine.build import options_of
from fast_vc_service.engine.families import build_converter, family_of, first_device
from fast_vc_service.errors import SettingsError, VoiceError
from fast_vc_service.process.interpreter import limit_torch_threads
from fast_vc_service.process.names import one_line
from fast_vc_service.protocol.voice_choice import normal_name
from fast_vc_service.settings import Settings
from fast_vc_service.voices.build import catalogue_of
from fast_vc_service.voices.catalogue import (
    TooManyVoicesError,
    UnsuitableClipError,
)
from fast_vc_service.voices.clip_check import check_clip
from fast_vc_service.voices.clip_folder import ClipFolder
from fast_vc_service.voices.uploads import CLIP, RECORD, UploadedVoices, VoiceRecord

EXPORT_SCHEMA = 1
MAX_RECORD_BYTES = 64 * 1024


def describe(settings: Settings) -> list[dict[str, Any]]:
    """Return what is known of each voice, those of ``voices_dir`` first, each kind by name."""
    listed: list[dict[str, Any]] = [
        {
            "name": name,
            "source": "folder",
            "owner": None,
            "duration_s": round(audio_info(clip.path).duration_s, 3),
            "description": None,
            "created_at": None,
            "default": name == settings.default_voice,
        }
        for name, clip in ClipFolder(settings.voices_dir).clips().items()
    ]
    records = sorted(_added(settings).records(), key=lambda item: (item.name, item.owner or ""))
    return listed + [
        {
            "name": record.name,
            "source": "added",
            "owner": record.owner,
            "duration_s": record.check.duration_s,
            "description": record.description,
            "created_at": record.created_at,
            "default": False,
        }
        for record in records
    ]


def as_text(voices: Sequence[dict[str, Any]]) -> str:
    """Return a line a voice."""
    if not voices:
        return "there are no voices; put clips into voices_dir, or use `fast-vc voices add`"
    width = max(len(voice["name"]) for voice in voices)
    lines = []
    for voice in voices:
        notes = ["default"] if voice["default"] else []
        if voice["source"] == "added":
            when = datetime.fromtimestamp(voice["created_at"]).astimezone().strftime("%Y-%m-%d")
            notes.append(f"added {when}")
            notes.append(f"for {voice['owner']}" if voice["owner"] else "for everybody")
        if voice["description"]:
            notes.append(one_line(voice["description"]))
        lines.append(f"{voice['name']:{width}}  {voice['duration_s']:6.1f} s  {', '.join(notes)}")
    return "\n".join(line.rstrip() for line in lines)


def check(settings: Settings, clips: Sequence[Path]) -> list[dict[str, Any]]:
    """Look at clips; of one that cannot be read the problem is just that."""
    limit_torch_threads(family_of(settings.engine).torch_threads)
    return [_checked(settings, clip) for clip in clips]


def checks_as_text(checks: Sequence[dict[str, Any]]) -> str:
    """Return a few lines a clip."""
    lines = []
    for found in checks:
        verdict = "no voice" if found["problems"] else "usable" if found["doubts"] else "good"
        lines.append(f"{found['file']}: {verdict}")
        if "speech_s" in found:
            lines.append(
                f"  {found['duration_s']:.1f} s, of which {found['speech_s']:.1f} s speech at "
                f"{found['level_dbfs']:.0f} dBFS"
            )
        lines += [f"  {reason}" for reason in (*found["problems"], *found["doubts"])]
    return "\n".join(lines)


def add(
    settings: Settings,
    name: str,
    clip: Path,
    *,
    consent: bool,
    description: str | None = None,
    owner: str | None = None,
) -> dict[str, Any]:
    """Make a voice of a clip; return what was found out about that.

    Raises:
        VoiceError: There is no consent, or the clip or the name cannot be used.
        SettingsError: The engine cannot be built as configured.
    """
    if not consent:
        raise VoiceError(
            "a voice is made only with its speaker's consent: add --consent if you are the "
            "speaker, or the speaker has agreed"
        )
    return _add(settings, name, _existing(clip), clip, description=description, owner=owner)


def find_added(settings: Settings, name: str, owner: str | None) -> VoiceRecord:
    """Return an added voice.

    Raises:
        VoiceError: There is none of that name.
    """
    record = _added(settings).find(normal_name(name), owner)
    if record is None:
        whose = f"of {owner}" if owner else "for everybody"
        raise VoiceError(f"no voice {name!r} {whose} was added; see `fast-vc voices list`")
    return record


def remove(settings: Settings, name: str, owner: str | None) -> None:
    """Delete an added voice with all that was made of it.

    Raises:
        VoiceError: There is none of that name.
    """
    _added(settings).remove(find_added(settings, name, owner))


def export(settings: Settings, name: str, output: Path | None, owner: str | None) -> Path:
    """Write a voice into a ZIP file: its clip, and what is known of it.

    Raises:
        VoiceError: There is no such voice, or the file is there already or cannot be written.
    """
    name = normal_name(name)
    record = _added(settings).find(name, owner)
    clip = _added(settings).clip(record) if record else None
    if clip is None and owner is None:
        found = ClipFolder(settings.voices_dir).clips().get(name)
        clip = found.path if found else None
    if clip is None:
        raise VoiceError(f"there is no voice {name!r}; see `fast-vc voices list`")
    output = output or Path(f"{name}.zip")
    told = {
        "schema": EXPORT_SCHEMA,
        "name": name,
        "description": record.description if record else None,
        "consent": True,
        "exported_at": round(time.time(), 3),
    }
    audio, rate = read_audio(clip)
    made = False
    try:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(output, "x") as archive:
            made = True
            flac = Path(folder) / CLIP
            with telling_why(flac):
                soundfile.write(flac, to_int16(audio), rate, format="FLAC")
            archive.writestr(RECORD, json.dumps(told, indent=2))
            archive.write(flac, CLIP)
    except OSError as error:
        if made:
            output.unlink(missing_ok=True)
        raise VoiceError(f"{output} cannot be written: {error.strerror or error}") from error
    return output


def import_(settings: Settings, file: Path, name: str | None, owner: str | None) -> str:
    """Add what :func:`export` wrote; return the name of the voice.

    Raises:
        VoiceError: The file is none of those, or its clip or name cannot be used.
        SettingsError: The engine cannot be built as configured.
    """
    wrong = VoiceError(f"{file}: expected a file that `fast-vc voices export` wrote")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / CLIP
        try:
            with zipfile.ZipFile(_existing(file)) as archive:
                if sorted(archive.namelist()) != sorted((RECORD, CLIP)):
                    raise wrong
                # Of bytes alone the parser would guess a charset, and take several.
                told = json.loads(_unpacked(archive, RECORD, MAX_RECORD_BYTES).decode("utf-8"))
                clip.write_bytes(_unpacked(archive, CLIP, settings.max_clip_mb * 1_000_000))
            stored, description = told["name"], told["description"]
            if told["schema"] != EXPORT_SCHEMA or told["consent"] is not True:
                raise wrong
            if not isinstance(stored, str) or not isinstance(description, str | None):
                raise wrong
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            RecursionError,
            zipfile.BadZipFile,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise wrong from error
        name = name or stored
        _add(settings, name, clip, file, description=description, owner=owner)
    return name


def _add(
    settings: Settings,
    name: str,
    clip: Path,
    told: Path,
    *,
    description: str | None,
    owner: str | None,
) -> dict[str, Any]:
    """Add the voice of ``clip``, which came with the file ``told``."""
    limit_torch_threads(family_of(settings.engine).torch_threads)
    try:
        converter = build_converter(
            settings.engine, device=first_device(settings.device), options=options_of(settings)
        )
    except ValueError as error:
        raise SettingsError(str(error)) from error
    voices = catalogue_of(settings, converter)
    try:
        entry = voices.add(
            name, clip, max_s=settings.max_clip_s, owner=owner, description=description
        )
    except AudioFileError as error:
        raise VoiceError(f"{told}: {error}") from error
    except UnsuitableClipError as error:
        raise VoiceError(f"the clip makes no voice: {error}") from error
    except TooManyVoicesError as error:
        raise VoiceError(str(error)) from error
    except ValueError as error:
        raise VoiceError(f"{name!r}: {error}") from error
    except OSError as error:
        raise VoiceError(f"the voice cannot be written: {error}") from error
    return {} if entry.record is None else entry.record.check.as_json()


def _checked(settings: Settings, clip: Path) -> dict[str, Any]:
    try:
        audio, rate = read_untrusted(_existing(clip), max_s=settings.max_clip_s)
    except (AudioFileError, VoiceError) as error:
        return {"file": str(clip), "problems": [str(error)], "doubts": []}
    return {"file": str(clip), **check_clip(audio, rate).as_json()}


def _unpacked(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """Return a file of ``archive``; what unpacks to more than ``max_bytes`` is refused."""
    with archive.open(name) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"{name} is larger than {max_bytes} bytes")
    return content


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise VoiceError(f"{path}: no such file")
    return path


def _added(settings: Settings) -> UploadedVoices:
    return UploadedVoices(settings.data_dir / "voices")
