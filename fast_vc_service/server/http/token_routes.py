"""``POST /tokens``: what a browser presents instead of a key."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from fast_vc_service.protocol.codes import EdgeCode
from fast_vc_service.server.auth import KeyRing
from fast_vc_service.server.http.access import caller_of, forbidden
from fast_vc_service.server.http.problems import Problem, ProblemError, respond


class BrowserToken(BaseModel):
    """Stands for the key it was made with, wherever a key goes, for a short time."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "token": "fvt_MTc2NDAzMzAwMDphbGljZQ.q1vYxkZ5m3J0u7Yw",
                    "expires_in_s": 300.0,
                    "expires_at": 1764033000.0,
                }
            ]
        }
    )

    token: str
    expires_in_s: float
    expires_at: float = Field(description="Seconds since the epoch.")


def token_routes(keys: KeyRing) -> APIRouter:
    """Return the route over ``keys``."""
    routes = APIRouter(tags=["access"])

    @routes.post(
        "/tokens",
        status_code=201,
        response_model=BrowserToken,
        responses={
            403: {"model": Problem, "description": "A token makes no further token."},
            409: {"model": Problem, "description": "No keys are configured: none is needed."},
        },
    )
    async def make_token(request: Request) -> Response:
        """Make a token, so that a browser need not know the key; the body is not looked at."""
        caller = caller_of(request)
        if caller.identity is None:
            raise ProblemError(
                409,
                EdgeCode.NO_KEYS,
                "this service has no keys, so nobody needs a token",
                hint="go on without one",
            )
        if caller.by_token:
            raise forbidden("a token makes no further token", "present the key itself")
        token = keys.issue(caller.identity)
        made = BrowserToken(
            token=token.text, expires_in_s=keys.token_s, expires_at=token.expires_at
        )
        return respond(201, made.model_dump())

    return routes
