"""The voices over HTTP: list them, show one, its clip, add and remove."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from loguru import logger
from starlette.responses import Response

from fast_vc_service.process.scratch import ScratchFolder
from fast_vc_service.protocol.checks import is_unicode
from fast_vc_service.protocol.codes import EdgeCode
from fast_vc_service.protocol.voice_choice import normal_name, to_text
from fast_vc_service.server.auth import Caller
from fast_vc_service.server.http.access import caller_of, forbidden, may_change
from fast_vc_service.server.http.problems import Problem, ProblemError, respond
from fast_vc_service.server.http.refusals import refusing, unknown_voice
from fast_vc_service.server.http.uploads import Upload, invalid, receive_upload
from fast_vc_service.server.http.voice_models import (
    UPLOAD_FORM,
    ClipLimits,
    DescribedVoice,
    Voice,
    VoiceList,
)
from fast_vc_service.server.threads import upload_thread, voice_thread
from fast_vc_service.voices.catalogue import (
    TooManyVoicesError,
    UnsuitableClipError,
    VoiceCatalogue,
    VoiceEntry,
)
from fast_vc_service.voices.clip_folder import NAME_RULE, is_voice_name
from fast_vc_service.voices.folder import UnknownVoiceError
from fast_vc_service.voices.uploads import VoiceExistsError, VoiceRecord

MAX_DESCRIPTION_CHARS = 500
CONSENT_HINT = (
    "send consent=true only if you are the speaker, or the speaker has agreed that this voice is "
    "made and used"
)
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such voice for this caller."}
}
_FORBIDDEN: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "It is not this caller's to change."}
}
_REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": why}
    for status, why in {
        400: "The form is wrong, or consent is missing.",
        408: "The upload has stopped.",
        409: "There is a voice of that name.",
        413: "Too many bytes or seconds.",
        415: "No form, or no audio of a known kind.",
        422: "The clip makes no voice; `details.check` says why.",
        429: "The key has as many voices as it may have.",
        507: "The service cannot write to its disk.",
    }.items()
}


@dataclass(frozen=True)
class VoiceRequest:
    """The texts of an upload, once checked, and whose it is."""

    name: str
    description: str | None
    owner: str | None


def voice_routes(
    voices: VoiceCatalogue, limits: ClipLimits, scratch: ScratchFolder, *, can_blend: bool
) -> APIRouter:
    """Return the routes over ``voices``; ``can_blend`` is only passed on to clients."""
    routes = APIRouter(tags=["voices"])
    routes.include_router(_reading_routes(voices, limits, can_blend=can_blend))
    routes.include_router(_adding_routes(voices, limits, scratch))
    routes.include_router(_removing_routes(voices))
    return routes


def _reading_routes(voices: VoiceCatalogue, limits: ClipLimits, *, can_blend: bool) -> APIRouter:
    routes = APIRouter()

    @routes.get("/voices", response_model=VoiceList)
    async def list_voices(request: Request) -> Response:
        """List the voices that the caller may use."""
        caller = caller_of(request)
        entries = await asyncio.to_thread(voices.entries, caller.owner, everyone=caller.admin)
        listed = VoiceList(
            default=to_text(voices.default),
            can_upload=may_change(request),
            can_blend=can_blend,
            limits=limits,
            voices=[_listed(entry, request) for entry in entries],
        )
        return respond(200, listed.model_dump())

    @routes.get("/voices/{name}", response_model=DescribedVoice, responses=_UNKNOWN)
    async def show_voice(request: Request, name: str) -> Response:
        """Tell what is known of a voice; of an uploaded one also how good its clip is."""
        try:
            entry = await asyncio.to_thread(voices.entry, name, caller_of(request).owner)
        except UnknownVoiceError as error:
            raise unknown_voice(error) from error
        return respond(200, _described(entry, request))

    @routes.get(
        "/voices/{name}/sample",
        response_class=Response,
        responses={
            **_UNKNOWN,
            200: {
                "description": "The clip the voice was made of: mono, 16 bit, at most 30 s.",
                "content": {"audio/wav": {"schema": {"type": "string", "format": "binary"}}},
            },
        },
    )
    async def hear_voice(request: Request, name: str) -> Response:
        """Return the clip that a voice was made of."""
        try:
            content = await voice_thread(voices.sample, name, caller_of(request).owner)
        except UnknownVoiceError as error:
            raise unknown_voice(error) from error
        return Response(content, media_type="audio/wav", headers={"cache-control": "no-store"})

    return routes


def _adding_routes(voices: VoiceCatalogue, limits: ClipLimits, scratch: ScratchFolder) -> APIRouter:
    routes = APIRouter()

    @routes.post(
        "/voices",
        status_code=201,
        response_model=DescribedVoice,
        responses={**_FORBIDDEN, **_REFUSED},
        openapi_extra={"requestBody": UPLOAD_FORM},
    )
    async def add_voice(request: Request) -> Response:
        """Make a voice of a clip; it belongs to the caller's key, an admin's to everybody.

        New sessions and `update` can use it at once.
        """
        if not may_change(request):
            raise forbidden(
                "voices cannot be uploaded from another machine while there are no keys",
                "configure api_keys and present one, or upload on the machine of the service; who "
                "can read its file fast_vc_service_port_<port>.token may present what that holds",
            )
        caller = caller_of(request)
        async with receive_upload(
            request,
            file_field="clip",
            fields=frozenset({"name", "description", "consent"}),
            max_bytes=limits.max_clip_bytes,
            scratch=scratch,
        ) as upload:
            asked = _checked_fields(upload, caller.owner)
            entry = await upload_thread(_add, voices, upload, asked, max_s=limits.max_clip_s)
        logger.info("voice {!r} was added ({})", entry.name, asked.owner or "for everybody")
        location = f"/voices/{quote(entry.name, safe='')}"
        return respond(201, _described(entry, request), {"location": location})

    return routes


def _removing_routes(voices: VoiceCatalogue) -> APIRouter:
    routes = APIRouter()

    @routes.delete(
        "/voices/{name}",
        status_code=204,
        response_class=Response,
        responses={**_UNKNOWN, **_FORBIDDEN},
    )
    async def remove_voice(
        request: Request,
        name: str,
        owner: Annotated[
            str | None, Query(description="Admins only: the name of the key it belongs to.")
        ] = None,
    ) -> Response:
        """Remove an uploaded voice with its clip; sessions that use it go on."""
        caller = caller_of(request)
        if owner is not None and not caller.admin:
            raise forbidden("only an admin key removes what others own", "leave owner out")
        record = await asyncio.to_thread(_to_be_removed, voices, name, owner or caller.owner)
        if record is None or not _may_remove(record, caller, request):
            raise forbidden(
                "this voice is not yours to remove",
                "a clip of voices_dir is removed there; a voice for everybody by an admin key, or, "
                "without keys, on the machine of the service",
            )
        await asyncio.to_thread(voices.remove, record)
        logger.info("voice {!r} was removed ({})", record.name, record.owner or "for everybody")
        return Response(status_code=204)

    return routes


def _checked_fields(upload: Upload, owner: str | None) -> VoiceRequest:
    name = normal_name(upload.fields.get("name", ""))
    if not is_voice_name(name):
        raise invalid("the name cannot be used", expected=NAME_RULE, got=name[:64], field="name")
    description = upload.fields.get("description", "").strip() or None
    if description is not None and (
        len(description) > MAX_DESCRIPTION_CHARS
        or "\x00" in description
        or not is_unicode(description)
    ):
        raise invalid(
            "the description cannot be used",
            expected=f"at most {MAX_DESCRIPTION_CHARS} characters of Unicode, none of them NUL",
            got=f"{len(description)} characters",
            field="description",
        )
    if upload.fields.get("consent", "").strip().lower() != "true":
        raise ProblemError(
            400,
            EdgeCode.CONSENT_REQUIRED,
            "a voice is made only with its speaker's consent",
            expected="the field consent with the value true",
            got=upload.fields.get("consent", "nothing")[:16],
            hint=CONSENT_HINT,
        )
    return VoiceRequest(name, description, owner)


def _add(
    voices: VoiceCatalogue, upload: Upload, asked: VoiceRequest, *, max_s: float
) -> VoiceEntry:
    try:
        with refusing():
            return voices.add(
                asked.name,
                upload.path,
                max_s=max_s,
                owner=asked.owner,
                description=asked.description,
            )
    except VoiceExistsError as error:
        raise ProblemError(409, EdgeCode.VOICE_EXISTS, str(error), got=asked.name) from error
    except TooManyVoicesError as error:
        raise ProblemError(
            429, EdgeCode.TOO_MANY_VOICES, "no more voices can be added", expected=str(error)
        ) from error
    except UnsuitableClipError as error:
        raise ProblemError(
            422,
            EdgeCode.UNSUITABLE_CLIP,
            f"the clip makes no voice: {error}",
            expected="5 to 30 s of one person's clear speech",
            check=error.check.as_json(),
        ) from error


def _to_be_removed(voices: VoiceCatalogue, name: str, owner: str | None) -> VoiceRecord | None:
    record = voices.added(name, owner)
    if record is None:
        try:
            return voices.entry(name, owner).record
        except UnknownVoiceError as error:
            raise unknown_voice(error) from error
    return record


def _may_remove(record: VoiceRecord, caller: Caller, request: Request) -> bool:
    if not may_change(request):
        return False
    return caller.identity is None or caller.admin or record.owner == caller.owner


def _listed(entry: VoiceEntry, request: Request) -> Voice:
    record = entry.record
    return Voice(
        name=entry.name,
        description=record.description if record else None,
        source="uploaded" if record else "folder",
        owner=record.owner if record else None,
        shared=record is None or record.owner is None,
        removable=record is not None and _may_remove(record, caller_of(request), request),
        duration_s=entry.duration_s,
        created_at=record.created_at if record else None,
        ready=entry.made,
    )


def _described(entry: VoiceEntry, request: Request) -> dict[str, Any]:
    check = entry.record.check.as_json() if entry.record else None
    return DescribedVoice.model_validate(
        {**_listed(entry, request).model_dump(), "check": check}
    ).model_dump()
