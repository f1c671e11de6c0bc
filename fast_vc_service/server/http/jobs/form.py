"""The form that ``POST /convert`` and ``POST /jobs`` take, checked."""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import Request

from fast_vc_service.contract import CannotBlendError, Voice
from fast_vc_service.engine.files import FileFormat
from fast_vc_service.process.scratch import ScratchFolder
from fast_vc_service.process.worker.work import WorkFailedError
from fast_vc_service.protocol.codes import ErrorCode
from fast_vc_service.protocol.limits import MAX_PITCH_SHIFT
from fast_vc_service.protocol.voice_choice import (
    RULE,
    Blend,
    BlendError,
    VoiceChoice,
    from_text,
    to_text,
)
from fast_vc_service.server.http.access import caller_of
from fast_vc_service.server.http.jobs.models import FileLimits
from fast_vc_service.server.http.problems import ProblemError
from fast_vc_service.server.http.refusals import no_blend, not_made, unknown_voice
from fast_vc_service.server.http.uploads import Upload, invalid, receive_upload
from fast_vc_service.server.threads import find_voice
from fast_vc_service.voices.catalogue import VoiceCatalogue
from fast_vc_service.voices.folder import UnknownVoiceError

_FIELDS = frozenset({"voice", "pitch_shift", "format"})


@dataclass(frozen=True)
class ConversionRequest:
    """What a form asks for, once checked."""

    voice: VoiceChoice
    pitch_shift: float
    file_format: FileFormat


def receive_file(
    request: Request, limits: FileLimits, scratch: ScratchFolder
) -> AbstractAsyncContextManager[Upload]:
    """Receive the form of a file to be converted; see :func:`receive_upload`."""
    return receive_upload(
        request,
        file_field="file",
        fields=_FIELDS,
        max_bytes=limits.max_file_bytes,
        scratch=scratch,
    )


async def read_request(
    request: Request, upload: Upload, voices: VoiceCatalogue
) -> tuple[ConversionRequest, Voice]:
    """Check the form and find the voice.

    Raises:
        ProblemError: One of them cannot be used.
    """
    wanted = _checked(upload.fields, voices.default)
    identity = caller_of(request).identity
    owner = None if identity is None else identity.name
    try:
        voice = await find_voice(voices, wanted.voice, owner)
    except UnknownVoiceError as error:
        raise unknown_voice(error) from error
    except CannotBlendError as error:
        raise no_blend(error) from error
    except ValueError as error:
        raise ProblemError(
            404,
            ErrorCode.UNKNOWN_VOICE,
            "the clip of this voice makes no voice",
            got=to_text(wanted.voice)[:64],
        ) from error
    except WorkFailedError as error:
        raise not_made() from error
    return wanted, voice


def _checked(fields: dict[str, str], default_voice: VoiceChoice) -> ConversionRequest:
    asked = fields.get("format", "wav")
    kinds: dict[str, FileFormat] = {"wav": "wav", "flac": "flac", "ogg": "ogg"}
    if asked not in kinds:
        raise invalid(
            "the format is not known", expected="wav, flac or ogg", got=asked[:16], field="format"
        )
    text = fields.get("pitch_shift", "0")
    try:
        pitch_shift = float(text)
    except ValueError:
        pitch_shift = math.nan
    if not -MAX_PITCH_SHIFT <= pitch_shift <= MAX_PITCH_SHIFT:
        raise invalid(
            "the pitch shift cannot be used",
            expected=f"a number of semitones from {-MAX_PITCH_SHIFT:g} to {MAX_PITCH_SHIFT:g}",
            got=text[:16],
            field="pitch_shift",
        )
    text = fields.get("voice", "")
    return ConversionRequest(_voice(text) if text else default_voice, pitch_shift, kinds[asked])


def _voice(text: str) -> VoiceChoice:
    try:
        return from_text(text)
    except BlendError as error:
        raise invalid("voice is no blend", expected=RULE, got=str(error), field="voice") from error


def file_headers(filename: str, wanted: ConversionRequest) -> dict[str, str]:
    """Return the headers of a converted file; ``filename`` is the source's."""
    stem = filename.rpartition(".")[0] or filename
    speaker = "+".join(wanted.voice.names()) if isinstance(wanted.voice, Blend) else wanted.voice
    name = quote(f"{stem}-{speaker}.{wanted.file_format}", safe="")
    return {
        "content-disposition": f"attachment; filename*=UTF-8''{name}",
        "cache-control": "no-store",
        "x-voice": quote(to_text(wanted.voice), safe=" "),
    }
