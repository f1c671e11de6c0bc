"""Jobs on a disk that is full for a while."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import soundfile
from fake_service import file_decoder
from speech import as_file
from test_file_routes import Start, chirp, finished, post, start

from fast_vc_service.process.disk import is_disk_error
from fast_vc_service.process.scratch import ScratchFolder
from fast_vc_service.server.http.jobs import keeping, work
from fast_vc_service.server.http.jobs.keeping import FileJobs
from fast_vc_service.server.http.jobs.store import JobStore
from fast_vc_service.server.http.jobs.work import FileWork
from waiting import until, until_async

__all__ = ["start"]


def full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def test_errors_of_the_disk_are_told_from_others() -> None:
    assert is_disk_error(full())
    assert is_disk_error(OSError(errno.EROFS, "read-only"))
    assert not is_disk_error(PermissionError(errno.EACCES, "no"))
    assert not is_disk_error(sqlite3.OperationalError("near ELECT: syntax error"))
    assert not is_disk_error(ValueError("no"))


def test_a_result_that_does_not_fit_is_no_damaged_file(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = start()
    client = bench.client()
    clip = as_file(chirp(1.0), 16_000)

    def refuse(_file: object, _data: object) -> None:
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile.SoundFile, "write", refuse)
    job = post(client, "/jobs", clip).json()
    bench.wake()
    told = finished(bench, client, job["id"], "failed")
    assert told["error"]["error_code"] == "NO_SPACE"
    monkeypatch.undo()
    job = post(client, "/jobs", clip).json()
    bench.wake()
    finished(bench, client, job["id"])


@pytest.mark.parametrize("method", ["take", "finish"])
def test_a_store_that_cannot_write_for_a_while_stops_no_worker(
    start: Start, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(work, "DISK_RETRY_S", 0.01)
    refused: list[str] = []
    works = threading.Event()
    real = getattr(JobStore, method)

    def unless_full(store: JobStore, *arguments: Any) -> Any:
        if not works.is_set():
            refused.append(method)
            raise full()
        return real(store, *arguments)

    monkeypatch.setattr(JobStore, method, unless_full)
    bench = start()
    client = bench.client()
    job = post(client, "/jobs", as_file(chirp(1.0), 16_000)).json()
    bench.wake()
    until(lambda: len(refused) > 2)
    works.set()
    finished(bench, client, job["id"])


def test_jobs_are_kept_as_soon_as_their_folder_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "DISK_RETRY_S", 0.0)
    errors = [full(), OSError(errno.ENOSPC, "full")]

    def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
        if errors:
            raise errors.pop()
        return real(*arguments, **named)

    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect)

    async def body() -> None:
        files = FileJobs(
            FileWork(lambda: None, lambda _name, _owner: None, file_decoder(), 1),  # type: ignore[arg-type, return-value]
            file_decoder(),
            ScratchFolder(tmp_path / "uploads"),
        )
        running = asyncio.create_task(
            files.run(tmp_path / "jobs", 2, asyncio.Event(), lambda _name: None)
        )
        await until_async(lambda: files.store is not None)
        running.cancel()
        await asyncio.wait([running])
        files.work.stop()

    asyncio.run(asyncio.wait_for(body(), 20))
    assert not errors
