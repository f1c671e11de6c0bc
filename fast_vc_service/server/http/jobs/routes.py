"""``POST /convert`` and the jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response, StreamingResponse

from fast_vc_service.audio.files import wav_header
from fast_vc_service.engine.files import media_type
from fast_vc_service.process.scratch import ScratchFolder
from fast_vc_service.protocol.codes import EdgeCode, ErrorCode
from fast_vc_service.protocol.voice_choice import to_json
from fast_vc_service.server.http.access import caller_of, forbidden, is_local
from fast_vc_service.server.http.jobs.decoding import DECODED, FileDecoder
from fast_vc_service.server.http.jobs.form import (
    ConversionRequest,
    file_headers,
    read_request,
    receive_file,
)
from fast_vc_service.server.http.jobs.models import FILE_FORM, FileLimits, JobList, JobView
from fast_vc_service.server.http.jobs.store import Job, JobStore, QueueFullError, new_job_id
from fast_vc_service.server.http.jobs.work import FileWork
from fast_vc_service.server.http.problems import Problem, ProblemError, respond
from fast_vc_service.server.http.refusals import refusing
from fast_vc_service.server.threads import upload_thread
from fast_vc_service.voices.catalogue import VoiceCatalogue

BUSY_RETRY_S = 10
_AUDIO = {
    media_type(kind): {"schema": {"type": "string", "format": "binary"}}
    for kind in ("wav", "flac", "ogg")
}


def _problems(**why: str) -> dict[int | str, dict[str, Any]]:
    return {int(code[1:]): {"model": Problem, "description": text} for code, text in why.items()}


_REFUSED = _problems(
    _400="The form is wrong.",
    _404="There is no such voice for this caller.",
    _408="The upload has stopped.",
    _413="Too many bytes or seconds.",
    _415="No form, or no audio of a known kind.",
    _507="The service cannot write to its disk.",
    _503="Starting, draining, failed, or too much to do; see Retry-After.",
)
_UNKNOWN_JOB = _problems(_404="There is no such job for this caller.")


class Files(Protocol):
    """What the routes need of the service."""

    @property
    def state(self) -> str:
        """``ready`` when files are converted."""
        ...

    @property
    def voices(self) -> VoiceCatalogue:
        """The voices."""
        ...

    @property
    def file_limits(self) -> FileLimits:
        """What a file may be."""
        ...

    @property
    def job_retention_s(self) -> float:
        """How long a finished job is kept."""
        ...

    @property
    def work(self) -> FileWork:
        """Who converts."""
        ...

    @property
    def decoder(self) -> FileDecoder:
        """Who reads uploaded files."""
        ...

    @property
    def scratch(self) -> ScratchFolder:
        """Where uploads lie as long as they are needed."""
        ...

    @property
    def jobs(self) -> JobStore | None:
        """Where jobs are kept; None while they cannot be."""
        ...


def file_routes(files: Files) -> APIRouter:
    """Return the routes over ``files``."""
    routes = APIRouter(tags=["files"])
    _add_convert(routes, files)
    _add_new_job(routes, files)
    _add_jobs(routes, files)
    _add_job_ends(routes, files)
    return routes


def _add_convert(routes: APIRouter, files: Files) -> None:

    @routes.post(
        "/convert",
        response_class=Response,
        responses={**_REFUSED, 200: {"description": "The converted file.", "content": _AUDIO}},
        openapi_extra={"requestBody": FILE_FORM},
    )
    async def convert(request: Request) -> Response:
        """Convert a file and stream the result while it is made: as long, at the same rate, mono.

        For more than a few minutes of audio a job is better: it shows progress and can be fetched
        again.
        """
        _check_ready(files)
        async with AsyncExitStack() as stack:
            upload = await stack.enter_async_context(
                receive_file(request, files.file_limits, files.scratch)
            )
            wanted, voice = await read_request(request, upload, files.voices)
            kept = stack.enter_context(files.scratch.place())
            source = kept / DECODED
            with refusing():
                info = await files.decoder.decode(
                    upload.path, source, max_s=files.file_limits.max_file_s
                )
            if files.work.full:
                raise _busy("as many files are being converted as may be")
            stream = files.work.stream(
                source,
                info,
                voice,
                pitch_shift=wanted.pitch_shift,
                file_format=wanted.file_format,
            )
            headers = file_headers(upload.filename, wanted)
            if wanted.file_format == "wav":
                header = wav_header(info.sample_rate, 2 * info.frames)
                headers["content-length"] = str(len(header) + 2 * info.frames)
            closing = stack.pop_all()
            return StreamingResponse(
                _until_closed(stream, closing),
                media_type=media_type(wanted.file_format),
                headers=headers,
            )


def _add_new_job(routes: APIRouter, files: Files) -> None:
    @routes.post(
        "/jobs",
        status_code=202,
        response_model=JobView,
        responses=_REFUSED,
        openapi_extra={"requestBody": FILE_FORM},
    )
    async def add_job(request: Request) -> Response:
        """Have a file converted when its turn comes; survives a restart of the service."""
        _check_ready(files)
        store = _store(files)
        identity = caller_of(request).identity
        async with receive_file(request, files.file_limits, files.scratch) as upload:
            wanted, _ = await read_request(request, upload, files.voices)
            with refusing():
                info = await files.decoder.examine(upload.path, max_s=files.file_limits.max_file_s)
            job = Job(
                id=new_job_id(),
                owner=None if identity is None else identity.name,
                state="queued",
                voice=wanted.voice,
                pitch_shift=wanted.pitch_shift,
                format=wanted.file_format,
                filename=upload.filename,
                duration_s=round(info.duration_s, 3),
                sample_rate=info.sample_rate,
                channels=info.channels,
                frames=info.frames,
                created_at=round(time.time(), 3),
            )
            try:
                await upload_thread(store.add, upload.path, job)
            except QueueFullError as error:
                raise ProblemError(
                    503,
                    EdgeCode.QUEUE_FULL,
                    "too many jobs are waiting",
                    got=str(error),
                    headers={"retry-after": str(BUSY_RETRY_S)},
                    retry_after_s=BUSY_RETRY_S,
                ) from error
        files.work.wake()
        return respond(202, _view(job, files), {"location": f"/jobs/{job.id}"})


def _add_jobs(routes: APIRouter, files: Files) -> None:
    @routes.get(
        "/jobs",
        response_model=JobList,
        responses=_problems(_403="Without keys only the machine of the service lists jobs."),
    )
    async def list_jobs(request: Request) -> Response:
        """List the caller's jobs; an admin's list holds everybody's."""
        caller = caller_of(request)
        if caller.identity is None and not is_local(request):
            raise forbidden(
                "without keys jobs are listed on the machine of the service only",
                "ask for a job by its id",
            )
        owner = None if caller.identity is None else caller.identity.name
        everyone = caller.admin or caller.identity is None
        jobs = await asyncio.to_thread(_store(files).list_jobs, owner, everyone=everyone)
        return respond(200, {"jobs": [_view(job, files) for job in jobs]})

    @routes.get("/jobs/{job_id}", response_model=JobView, responses=_UNKNOWN_JOB)
    async def show_job(request: Request, job_id: str) -> Response:
        """Tell how far a job is."""
        return respond(200, _view(await _find(request, job_id, files), files))


def _add_job_ends(routes: APIRouter, files: Files) -> None:
    @routes.get(
        "/jobs/{job_id}/result",
        response_class=Response,
        responses={
            **_UNKNOWN_JOB,
            **_problems(_409="The job is not done."),
            200: {"description": "The converted file.", "content": _AUDIO},
        },
    )
    async def fetch_result(request: Request, job_id: str) -> Response:
        """Return the converted file; parts of it by a Range header."""
        job = await _find(request, job_id, files)
        if job.state != "done":
            raise ProblemError(
                409,
                EdgeCode.JOB_NOT_DONE,
                "the job has no result",
                expected="state done",
                got=f"state {job.state}",
                hint="ask for GET /jobs/{id} until it is done",
            )
        wanted = ConversionRequest(job.voice, job.pitch_shift, job.format)
        return FileResponse(
            _store(files).result(job),
            media_type=media_type(job.format),
            headers=file_headers(job.filename, wanted),
        )

    @routes.delete(
        "/jobs/{job_id}", status_code=204, response_class=Response, responses=_UNKNOWN_JOB
    )
    async def remove_job(request: Request, job_id: str) -> Response:
        """Remove a job and its files; one that runs is stopped."""
        job = await _find(request, job_id, files)
        store = _store(files)
        await asyncio.to_thread(store.remove, job.id)
        if not files.work.cancel(job.id):
            await asyncio.to_thread(store.remove_files, job.id)
        return Response(status_code=204)


def _check_ready(files: Files) -> None:
    if files.state != "ready":
        raise _busy(f"the service is {files.state}")


def _busy(got: str) -> ProblemError:
    return ProblemError(
        503,
        ErrorCode.BUSY,
        "the file cannot be converted now",
        got=got,
        hint="try again later, or make a job",
        headers={"retry-after": str(BUSY_RETRY_S)},
        retry_after_s=BUSY_RETRY_S,
    )


def _store(files: Files) -> JobStore:
    if files.jobs is None:
        raise _busy("this service keeps no jobs; its log says why")
    return files.jobs


async def _find(request: Request, job_id: str, files: Files) -> Job:
    """Return a job that is the caller's to see; without keys its id is what gives access."""
    caller = caller_of(request)
    job = await asyncio.to_thread(_store(files).get, job_id)
    theirs = job is not None and (
        caller.identity is None or caller.admin or job.owner == caller.identity.name
    )
    if job is None or not theirs:
        raise ProblemError(
            404,
            EdgeCode.UNKNOWN_JOB,
            "there is no such job",
            got=job_id[:64],
            hint="finished jobs are removed after a while; GET /jobs lists what there is",
        )
    return job


def _view(job: Job, files: Files) -> dict[str, Any]:
    expires_at = None if job.finished_at is None else job.finished_at + files.job_retention_s
    progress = files.work.progress(job.id) if job.state == "running" else float(job.state == "done")
    return JobView(
        **{
            name: getattr(job, name)
            for name in JobView.model_fields.keys() - {"voice"}
            if hasattr(job, name)
        },
        voice=to_json(job.voice),
        progress=round(progress, 4),
        expires_at=expires_at,
    ).model_dump()


async def _until_closed(
    stream: AsyncIterator[bytes], closing: AsyncExitStack
) -> AsyncIterator[bytes]:
    async with closing:
        async for piece in stream:
            yield piece
