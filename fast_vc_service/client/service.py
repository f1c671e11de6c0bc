"""The service over HTTP: voices, whole files, jobs, and tokens for browsers."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import quote

import httpx2

from fast_vc_service.client.errors import PROTOCOL_ERROR, VoiceServiceError
from fast_vc_service.client.http import HttpConnection
from fast_vc_service.client.records import BrowserToken, Job, VoiceInfo
from fast_vc_service.protocol.voice_choice import JsonVoice

DEFAULT_SERVICE_URL = "http://localhost:8042"
ANSWER_TIMEOUT_S = 300.0
"""A file is decoded, and an upload is made a voice, before anything is answered."""

POLL_S = 0.5
FORMATS = ("wav", "flac", "ogg")

Record = TypeVar("Record", VoiceInfo, Job, BrowserToken)


class ServiceClient:
    """The HTTP routes of one service.

    ::

        async with ServiceClient("http://localhost:8042") as service:
            await service.add_voice("anna", "anna.wav", consent=True)
            await service.convert_file("talk.mp3", "talk-anna.wav", voice="anna")

    Args:
        url: Address of the service, ``http://`` or ``https://``.
        api_key: Key, if it wants one.
        tls: Certificates to trust with ``https://``; None means the system's.
        answer_timeout_s: How long the service may stay silent.

    Every method raises :class:`VoiceServiceError` when the service cannot be reached or refuses;
    its ``code`` is the ``error_code`` of the answer, ``details["http_status"]`` the status.
    """

    def __init__(
        self,
        url: str = DEFAULT_SERVICE_URL,
        *,
        api_key: str | None = None,
        tls: ssl.SSLContext | None = None,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self._http = HttpConnection(
            url, api_key=api_key, tls=tls, answer_timeout_s=answer_timeout_s
        )

    async def __aenter__(self) -> Self:
        """Nothing is sent before the first call."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._http.close()

    # ----------------------------------------------------------------- voices

    async def voices(self) -> list[VoiceInfo]:
        """List the voices that the caller may use."""
        content = await self._http.json("GET", "/voices")
        return [_made(VoiceInfo, voice) for voice in content.get("voices", [])]

    async def voice(self, name: str) -> VoiceInfo:
        """Tell what is known of a voice."""
        return _made(VoiceInfo, await self._http.json("GET", _path("voices", name)))

    async def add_voice(
        self, name: str, clip: str | Path, *, consent: bool, description: str | None = None
    ) -> VoiceInfo:
        """Make a voice of a clip; it belongs to the caller's key.

        Args:
            name: What it will be chosen by.
            clip: WAV, FLAC, OGG or MP3 of 5 to 30 s of one person's clear speech.
            consent: True says that you are the speaker, or that the speaker has agreed.
            description: Words of your own.

        Raises:
            OSError: The clip cannot be read.
            VoiceServiceError: ``CONSENT_REQUIRED``, ``VOICE_EXISTS``, ``UNSUITABLE_CLIP``, ...
        """
        fields = {"name": name, "consent": "true" if consent else "false"}
        if description is not None:
            fields["description"] = description
        with _opened(clip) as upload:
            content = await self._http.json("POST", "/voices", data=fields, files={"clip": upload})
        return _made(VoiceInfo, content)

    async def remove_voice(self, name: str, *, owner: str | None = None) -> None:
        """Remove an uploaded voice; ``owner`` is for admins: the key it belongs to."""
        params = {} if owner is None else {"owner": owner}
        await self._http.content("DELETE", _path("voices", name), params=params)

    async def voice_sample(self, name: str) -> bytes:
        """Return the clip that a voice was made of: a WAV file of at most 30 s."""
        return await self._http.content("GET", _path("voices", name, "sample"))

    # ------------------------------------------------------------------ files

    async def convert_file(
        self,
        source: str | Path,
        output: str | Path,
        *,
        voice: JsonVoice | None = None,
        pitch_shift: float = 0.0,
    ) -> None:
        """Convert a file; the result has its rate and its duration.

        Args:
            source: WAV, FLAC, OGG or MP3.
            output: File to write, ``.wav``, ``.flac`` or ``.ogg``; it appears once it is whole.
            voice: A name or a blend; None means the server's default.
            pitch_shift: Semitones on top of the automatic register match.

        Raises:
            ValueError: The suffix of ``output`` is none of these.
            OSError: A file cannot be read or written.
            VoiceServiceError: Refused, or broken off; nothing was written.
        """
        output = Path(output)
        fields = _form_fields(voice, pitch_shift, output.suffix.lower().removeprefix("."))
        with _opened(source) as upload:
            request = {"data": fields, "files": {"file": upload}}
            async with self._http.answer("POST", "/convert", **request) as answer:
                await _save(answer, output)

    async def submit_job(
        self,
        source: str | Path,
        *,
        voice: JsonVoice | None = None,
        pitch_shift: float = 0.0,
        file_format: str = "wav",
    ) -> Job:
        """Have a long file converted when its turn comes; arguments as of :meth:`convert_file`."""
        fields = _form_fields(voice, pitch_shift, file_format)
        with _opened(source) as upload:
            content = await self._http.json("POST", "/jobs", data=fields, files={"file": upload})
        return _made(Job, content)

    async def jobs(self) -> list[Job]:
        """List the caller's jobs, the newest first."""
        content = await self._http.json("GET", "/jobs")
        return [_made(Job, job) for job in content.get("jobs", [])]

    async def job(self, job_id: str) -> Job:
        """Tell how far a job is."""
        return _made(Job, await self._http.json("GET", _path("jobs", job_id)))

    async def wait_for_job(
        self,
        job_id: str,
        on_progress: Callable[[Job], None] = lambda _job: None,
        *,
        every_s: float = POLL_S,
    ) -> Job:
        """Wait until a job is done.

        Args:
            job_id: The job.
            on_progress: Called with each state that is heard of.
            every_s: Seconds between two questions.

        Raises:
            VoiceServiceError: The job has failed (its own code), or was cancelled.
        """
        while True:
            job = await self.job(job_id)
            on_progress(job)
            if job.is_over:
                return ended(job)
            await asyncio.sleep(every_s)

    async def job_result(self, job_id: str, output: str | Path) -> None:
        """Write the converted file of a job that is done; it appears once it is whole."""
        async with self._http.answer("GET", _path("jobs", job_id, "result")) as answer:
            await _save(answer, Path(output))

    async def cancel_job(self, job_id: str) -> None:
        """Stop a job if it runs, and remove it with its files."""
        await self._http.content("DELETE", _path("jobs", job_id))

    # ----------------------------------------------------------------- tokens

    async def browser_token(self) -> BrowserToken:
        """Make a token that a browser presents instead of the key, for a short time."""
        return _made(BrowserToken, await self._http.json("POST", "/tokens"))


def ended(job: Job) -> Job:
    """Return a job that is over.

    Raises:
        VoiceServiceError: It has failed.
    """
    if job.error is None:
        return job
    code, message = str(job.error.get("error_code")), str(job.error.get("message"))
    raise VoiceServiceError(code, message, job.error.get("details"))


def _path(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _form_fields(voice: JsonVoice | None, pitch_shift: float, file_format: str) -> dict[str, str]:
    if file_format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}; got {file_format!r}")
    fields = {"pitch_shift": str(pitch_shift), "format": file_format}
    if voice is not None:
        fields["voice"] = voice if isinstance(voice, str) else json.dumps(dict(voice))
    return fields


def _made(kind: type[Record], content: Any) -> Record:
    try:
        return kind.from_json(content)
    except (TypeError, AttributeError) as error:
        raise VoiceServiceError(
            PROTOCOL_ERROR,
            f"the server's answer is no {kind.__name__}: {error}",
            {"got": str(content)[:200], "hint": "is this URL the voice conversion service?"},
        ) from error


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[str, BinaryIO]]:
    with Path(path).open("rb") as file:
        yield Path(path).name, file


@contextmanager
def _unfinished(output: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of ``output`` once it is whole, and else leaves nothing."""
    part = output.with_name(f".{output.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


async def _save(answer: httpx2.Response, output: Path) -> None:
    with _unfinished(output) as file:
        async for piece in answer.aiter_bytes():
            file.write(piece)
