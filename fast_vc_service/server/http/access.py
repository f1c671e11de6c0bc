"""Who asks over HTTP, and what they may: the check before every keyed route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request

from fast_vc_service.protocol.codes import EdgeCode, ErrorCode
from fast_vc_service.server.auth import Caller, KeyRing, bearer
from fast_vc_service.server.http.problems import ProblemError
from fast_vc_service.server.sockets.answers import Grant
from fast_vc_service.server.sockets.paced import PacedTransport


def key_check(keys: KeyRing) -> Callable[[Request], Awaitable[None]]:
    """Return the dependency that lets nobody in without a key, and notes who came."""

    async def check(request: Request) -> None:
        if not keys.required:
            request.state.caller = Caller()
            await _know(request)
            return
        presented = bearer(request.scope["headers"])
        caller = keys.caller(presented)
        if caller is not None:
            request.state.caller = caller
            await _know(request)
            return
        if presented is not None:
            await keys.delay_failure()
        raise ProblemError(
            401,
            ErrorCode.AUTH_FAILED,
            "the API key is missing or wrong",
            headers={"www-authenticate": 'Bearer realm="fast-vc-service"'},
            expected="a configured key in the header Authorization: Bearer KEY",
            got="another key" if presented is not None else "no key",
        )

    return check


async def _know(request: Request) -> None:
    """Take note that this request is to be answered, and wait for its turn."""
    extensions = request.scope.get("extensions", {})
    paced: PacedTransport | None = extensions.get("paced")
    grant: Grant | None = extensions.get("grant")
    if paced is not None:
        paced.know()
    if grant is not None:
        await grant.take()


def caller_of(request: Request) -> Caller:
    """Return who asks; after :func:`key_check`."""
    caller: Caller = request.state.caller
    return caller


def place_check(keys: KeyRing) -> Callable[[Request], Awaitable[None]]:
    """Return the dependency that finds out who is on this machine; after :func:`key_check`."""

    async def check(request: Request) -> None:
        presented = bearer(request.scope["headers"])
        local = not keys.required and await keys.local.is_local(request.scope, presented)
        request.state.local = local

    return check


def is_local(request: Request) -> bool:
    """Tell whether the request was made on this machine; after :func:`place_check`."""
    local: bool = request.state.local
    return local


def may_change(request: Request) -> bool:
    """Tell whether the caller may add and remove: with a key, else on this machine only."""
    return caller_of(request).identity is not None or is_local(request)


def forbidden(message: str, hint: str) -> ProblemError:
    """Return the error for what this caller may not do."""
    return ProblemError(403, EdgeCode.FORBIDDEN, message, hint=hint)
