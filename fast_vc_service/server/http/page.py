"""The page at ``/``: static files of the package, answered to everybody and allowed nothing else.

Its scripts and styles are files; the policy below refuses inline ones and every other host.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).resolve().parents[2] / "web"
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".ts": "text/plain",
    ".svg": "image/svg+xml",
}
"""By the ending alone: a machine's own table may say anything."""

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "content-security-policy": POLICY,
    "permissions-policy": "microphone=(self), speaker-selection=(self), camera=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    # Asked for every time, so that a page and its scripts are of one version; answered 304.
    "cache-control": "no-cache",
}


class PageFiles(StaticFiles):
    """ASGI application that answers with the files under :data:`FOLDER`."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return a file, or 304, with the headers of the page.

        Raises:
            HTTPException: It is no file of the page.
        """
        media_type = MEDIA_TYPES.get(Path(full_path).suffix)
        if media_type is None:
            raise HTTPException(404)
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS | {"content-type": f"{media_type}; charset=utf-8"})
        return response


def page_routes() -> APIRouter:
    """Return ``GET /``, the page itself; its parts are :class:`PageFiles` under ``/demo``."""
    routes = APIRouter()
    files = PageFiles()

    @routes.head("/", include_in_schema=False)
    @routes.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        """Return the page."""
        return await files.get_response("index.html", request.scope)

    return routes
