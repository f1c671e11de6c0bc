"""Forms with a file in them, read with every limit in force from the first byte on.

The framework would spool a body of any size to the disk before a route could look at it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from fast_vc_service.process.disk import telling_where
from fast_vc_service.process.scratch import ScratchFolder
from fast_vc_service.protocol.codes import EdgeCode
from fast_vc_service.server.http.problems import ProblemError
from fast_vc_service.server.standstill import is_done_within
from fast_vc_service.server.threads import upload_thread

STALLED_S = 30.0
"""How long a client may send nothing before its upload is given up."""

MAX_FIELDS = 16
MAX_FIELD_BYTES = 16 * 1024
_MARGIN_BYTES = 64 * 1024
_COPY_BYTES = 1 << 20
_SHOWN_CHARS = 60


@dataclass(frozen=True)
class Upload:
    """A form with one file.

    Attributes:
        fields: Its texts by name.
        path: The file on the disk, gone when the upload is.
        filename: What the client calls it; for people only, never a path.
    """

    fields: dict[str, str]
    path: Path
    filename: str


@asynccontextmanager
async def receive_upload(
    request: Request,
    *,
    file_field: str,
    fields: frozenset[str],
    max_bytes: int,
    scratch: ScratchFolder,
) -> AsyncIterator[Upload]:
    """Read a ``multipart/form-data`` body with a file and texts.

    Args:
        request: Its body is not read yet.
        file_field: Name of the part that is the file.
        fields: Names of the parts that are texts.
        max_bytes: Largest file.
        scratch: Where the file lies as long as it is needed.

    Raises:
        ProblemError: The body is no such form, is too large, or stops coming.
    """
    _check_head(request, max_bytes)
    with scratch.place() as folder:
        with telling_where(folder):
            form = await _read_form(request, max_bytes, folder)
        try:
            texts, part = _sort(form, file_field, fields)
            if (part.size or 0) > max_bytes:
                raise _too_large(max_bytes)
            path = folder / "upload"
            await upload_thread(_copy, part, path)
            yield Upload(texts, path, _shown_name(part.filename))
        finally:
            await form.close()


def _check_head(request: Request, max_bytes: int) -> None:
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise invalid(
            "the body is no form",
            expected="multipart/form-data",
            got=content_type[:_SHOWN_CHARS] or "no Content-Type",
            status=415,
        )
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > max_bytes + _MARGIN_BYTES:
        raise _too_large(max_bytes)
    _check_charset(
        parse_options_header(content_type)[1].get(b"charset", b"utf-8").decode("latin-1")
    )


async def _read_form(request: Request, max_bytes: int, folder: Path) -> FormData:
    parser = _Parser(
        request.headers,
        _bounded(request, max_bytes),
        max_files=1,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    parser.folder = folder
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise invalid(
            "the form cannot be read", expected="one file and a few short texts", got=error.message
        ) from error
    except (KeyError, UnicodeDecodeError, LookupError) as error:
        raise invalid(
            "the form cannot be read", expected="multipart/form-data with a boundary, in UTF-8"
        ) from error
    except BaseException:
        parser.close()
        raise


class _Parser(MultiPartParser):
    """The framework's, with two differences.

    It would take texts that are no UTF-8 for Latin-1, and lay files into the system's folder for
    temporary files, wherever ours is.

    Attributes:
        folder: Where a file lies that is too large for the memory.
    """

    folder: Path

    def on_headers_finished(self) -> None:
        """See the base class."""
        super().on_headers_finished()
        upload = self._current_part.file
        if upload is not None:
            file = SpooledTemporaryFile(  # noqa: SIM115 - closed with the form
                max_size=self.spool_max_size, dir=str(self.folder)
            )
            upload.file.close()
            upload.file = cast(BinaryIO, file)
            self._files_to_close_on_error.append(file)

    def close(self) -> None:
        """Close the file, however far it has come."""
        for file in self._files_to_close_on_error:
            file.close()

    def on_part_end(self) -> None:
        """See the base class."""
        part = self._current_part
        if part.file is None:
            try:
                bytes(part.data).decode()
            except UnicodeDecodeError as error:
                raise MultiPartException(f"a text that is no UTF-8: {error.reason}") from error
        super().on_part_end()


def _check_charset(charset: str) -> None:
    if charset.lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise invalid(
            "the form is in another charset",
            expected="UTF-8",
            got=charset[:_SHOWN_CHARS],
            status=415,
        )


async def _bounded(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    received = 0
    stream = request.stream()
    while (chunk := await _next(stream)) is not None:
        received += len(chunk)
        if received > max_bytes + _MARGIN_BYTES:
            raise _too_large(max_bytes)
        yield chunk


async def _next(stream: AsyncGenerator[bytes, None]) -> bytes | None:
    coming = asyncio.ensure_future(anext(stream, None))
    try:
        if await is_done_within(coming, STALLED_S):
            return coming.result()
    finally:
        coming.cancel()
    raise ProblemError(
        408,
        EdgeCode.UPLOAD_STALLED,
        "the upload has stopped",
        expected=f"a part of the body at least every {STALLED_S:g} s",
        headers={"connection": "close"},
    )


def _sort(
    form: FormData, file_field: str, fields: frozenset[str]
) -> tuple[dict[str, str], UploadFile]:
    texts: dict[str, str] = {}
    part: UploadFile | None = None
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) != (name == file_field) or name not in fields | {
            file_field
        }:
            raise invalid(
                f"the form has a part {name[:_SHOWN_CHARS]!r} that is not expected here",
                expected=f"a file {file_field!r} and the texts {', '.join(sorted(fields))}",
                field=name[:_SHOWN_CHARS],
            )
        if name in texts:
            raise invalid(f"the form has {name!r} twice", field=name)
        if isinstance(value, UploadFile):
            part = value
        else:
            texts[name] = value
    if part is None:
        raise invalid(
            f"the form has no file {file_field!r}",
            expected=f"a file in the part {file_field!r}",
            field=file_field,
        )
    return texts, part


def invalid(message: str, *, status: int = 400, **details: Any) -> ProblemError:
    """Return the error for a request that is wrong in itself; ``details`` may name ``field``."""
    return ProblemError(status, EdgeCode.INVALID_REQUEST, message, **details)


def _too_large(max_bytes: int) -> ProblemError:
    return ProblemError(
        413,
        EdgeCode.TOO_LARGE,
        "the file is too large",
        expected=f"at most {max_bytes} bytes",
        headers={"connection": "close"},
    )


def _copy(part: UploadFile, path: Path) -> None:
    part.file.seek(0)
    with telling_where(path.parent), path.open("wb") as file:
        while chunk := part.file.read(_COPY_BYTES):
            file.write(chunk)


def _shown_name(name: str | None) -> str:
    """Return the last part of a client's file name, without what a terminal or header trips on."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in last if char.isprintable())[:100] or "audio"
