"""Errors that several routes have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fast_vc_service.audio.files import AudioFileError
from fast_vc_service.audio.untrusted import TooLongError, kinds
from fast_vc_service.contract import CannotBlendError
from fast_vc_service.process.worker.work import Failure, WorkFailedError
from fast_vc_service.protocol.codes import EdgeCode, ErrorCode
from fast_vc_service.server.http.problems import ProblemError
from fast_vc_service.server.retry_after import RETRY_S
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


def not_examined(error: WorkFailedError) -> ProblemError:
    """Return the error for an uploaded file at which the worker failed that was to read it."""
    if error.failure is Failure.UNAVAILABLE:
        return _later("files cannot be read at present")
    if error.failure is Failure.CRASHED:
        return ProblemError(
            415,
            EdgeCode.UNSUPPORTED_AUDIO,
            "the file cannot be used",
            expected=f"a {kinds()} file",
            got="one at which its decoder crashed: it is damaged",
        )
    what = "processor time" if error.failure is Failure.TOO_LONG else "memory"
    return ProblemError(
        413,
        EdgeCode.TOO_LARGE,
        f"the file takes too much {what}",
        expected="a shorter one, or one of a lower rate",
    )


@contextmanager
def refusing() -> Iterator[None]:
    """Refuse a file at which reading it fails.

    Raises:
        ProblemError: In place of what was raised.
    """
    try:
        yield
    except AudioFileError as error:
        raise unreadable(error) from error
    except WorkFailedError as error:
        raise not_examined(error) from error


def not_made() -> ProblemError:
    """Return the error for a voice that the worker could not make for now."""
    return _later("the voice cannot be made at present")


def _later(message: str) -> ProblemError:
    return ProblemError(
        503,
        ErrorCode.BUSY,
        message,
        hint="try again later; the log of the service says more",
        headers={"retry-after": str(RETRY_S)},
        retry_after_s=RETRY_S,
    )


def unreadable(error: AudioFileError) -> ProblemError:
    """Return the error for an uploaded file that cannot be used."""
    if isinstance(error, TooLongError):
        return ProblemError(413, EdgeCode.TOO_LARGE, "the file is too long", expected=str(error))
    return ProblemError(
        415,
        EdgeCode.UNSUPPORTED_AUDIO,
        "the file cannot be used",
        expected=f"a {kinds()} file",
        got=str(error),
    )
