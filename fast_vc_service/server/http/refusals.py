"""Errors that several routes have in common."""

from __future__ import annotations

from fast_vc_service.audio.files import AudioFileError
from fast_vc_service.audio.untrusted import KINDS, TooLongError
from fast_vc_service.contract import CannotBlendError
from fast_vc_service.protocol.codes import EdgeCode, ErrorCode
from fast_vc_service.server.http.problems import ProblemError
from fast_vc_service.voices.folder import UnknownVoiceError


def unknown_voice(error: UnknownVoiceError) -> ProblemError:
    """Return the error for a voice that is not there."""
    return ProblemError(
        404,
        ErrorCode.UNKNOWN_VOICE,
        "there is no such voice",
        expected="one of details.available",
        got=error.name[:64],
        available=list(error.available),
    )


def no_blend(error: CannotBlendError) -> ProblemError:
    """Return the error for a blend that the engine cannot make."""
    return ProblemError(
        400,
        EdgeCode.INVALID_REQUEST,
        f"voice: {error}",
        expected="one voice, with this engine",
        got="a blend",
        hint="choose one of GET /voices",
        field="voice",
    )


def no_space() -> ProblemError:
    """Return the error for what cannot be kept, since the disk is full or cannot be written."""
    return ProblemError(
        507,
        EdgeCode.NO_SPACE,
        "the service cannot write to its disk",
        hint="try again later; its operator finds in the log which folder it is",
    )


def unreadable(error: AudioFileError) -> ProblemError:
    """Return the error for an uploaded file that cannot be used."""
    if isinstance(error, TooLongError):
        return ProblemError(413, EdgeCode.TOO_LARGE, "the file is too long", expected=str(error))
    return ProblemError(
        415,
        EdgeCode.UNSUPPORTED_AUDIO,
        "the file cannot be used",
        expected=f"a {KINDS} file",
        got=str(error),
    )
