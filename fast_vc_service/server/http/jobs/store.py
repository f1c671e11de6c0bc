"""Jobs on the disk: one row each in SQLite, and a folder each with the source and the result."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from loguru import logger

from fast_vc_service.engine.files import FileFormat
from fast_vc_service.process.disk import telling_where
from fast_vc_service.process.lock import take_lock
from fast_vc_service.protocol.voice_choice import VoiceChoice, from_text, to_text

JobState = Literal["queued", "running", "done", "failed"]

_DATABASE, _SOURCE = "jobs.sqlite3", "source"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    owner TEXT,
    state TEXT NOT NULL,
    voice TEXT NOT NULL,
    pitch_shift REAL NOT NULL,
    format TEXT NOT NULL,
    filename TEXT NOT NULL,
    duration_s REAL NOT NULL,
    sample_rate INTEGER NOT NULL,
    channels INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    error TEXT
)
"""
_VERSION = 1


class StoreTakenError(RuntimeError):
    """Another service keeps its jobs in the same folder."""


class QueueFullError(RuntimeError):
    """As many jobs wait as may."""


@dataclass(frozen=True)
class Job:
    """A file to be converted, or one that was.

    Attributes:
        id: 32 hexadecimal digits, not to be guessed.
        owner: Name of the key that made it, None on a service without keys.
        state: Where it is.
        voice: As asked for.
        pitch_shift: Semitones.
        format: Of the result.
        filename: What the client calls its file.
        duration_s: Length of source and result.
        sample_rate: Hz of both.
        channels: Of the source.
        frames: Samples of a channel.
        created_at: Seconds since the epoch.
        started_at: The same.
        finished_at: The same.
        error: Body of the error that ended it.
    """

    id: str
    owner: str | None
    state: JobState
    voice: VoiceChoice
    pitch_shift: float
    format: FileFormat
    filename: str
    duration_s: float
    sample_rate: int
    channels: int
    frames: int
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    error: dict[str, Any] | None = None


_COLUMNS = ", ".join(field.name for field in fields(Job))
_PLACES = ", ".join(f":{field.name}" for field in fields(Job))


class JobStore:
    """All jobs under one folder; safe to use from many threads, by one process at a time.

    Args:
        folder: Made if it is missing.
        max_waiting: Jobs that may wait at the same time.

    Raises:
        StoreTakenError: Another service uses the folder.
        OSError: It cannot be written.
        sqlite3.Error: The same.
    """

    def __init__(self, folder: Path, max_waiting: int) -> None:
        self._folder = folder
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._claim = _claim(folder)
        with ExitStack() as on_failure:
            on_failure.callback(os.close, self._claim)
            self._database = sqlite3.connect(folder / _DATABASE, check_same_thread=False)
            on_failure.callback(self._database.close)
            self._database.row_factory = sqlite3.Row
            with self._changing() as database:
                database.execute(_SCHEMA)
                database.execute(f"PRAGMA user_version = {_VERSION}")
                # Whoever was converting them is gone.
                database.execute(
                    "UPDATE jobs SET state = 'queued', started_at = NULL WHERE state = 'running'"
                )
            self._sweep()
            on_failure.pop_all()

    def close(self) -> None:
        """Let go of the folder; jobs that are running will be queued again by the next to come."""
        with self._lock:
            self._database.close()
        os.close(self._claim)

    def source(self, job_id: str) -> Path:
        """Return the place of a job's source."""
        return self._folder / job_id / _SOURCE

    def result(self, job: Job) -> Path:
        """Return the place of a job's result."""
        return self._folder / job.id / f"result.{job.format}"

    def add(self, upload: Path, job: Job) -> None:
        """Queue a job; its file is moved from ``upload``.

        Raises:
            QueueFullError: As many wait as may.
            OSError: The file cannot be written.
        """
        place = self.source(job.id)
        place.parent.mkdir(mode=0o700)
        try:
            with telling_where(place.parent):
                shutil.move(upload, place)
            with self._changing() as database:
                waiting = database.execute("SELECT COUNT(*) FROM jobs WHERE state = 'queued'")
                if waiting.fetchone()[0] >= self._max_waiting:
                    raise QueueFullError(f"{self._max_waiting} jobs are waiting")
                row = {**asdict(job), "voice": to_text(job.voice), "error": None}
                database.execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES ({_PLACES})", row)  # noqa: S608
        except BaseException:
            shutil.rmtree(place.parent, ignore_errors=True)
            raise

    def take(self) -> Job | None:
        """Return the oldest job that waits, now running; None when none waits."""
        with self._changing() as database:
            found = database.execute(
                "UPDATE jobs SET state = 'running', started_at = ? WHERE id = ("
                "SELECT id FROM jobs WHERE state = 'queued' ORDER BY created_at LIMIT 1"
                ") RETURNING *",
                (_now(),),
            )
            row = found.fetchone()
        return None if row is None else _job(row)

    def put_back(self, job_id: str) -> None:
        """Have a running job wait again."""
        self._execute("UPDATE jobs SET state = 'queued', started_at = NULL WHERE id = ?", (job_id,))

    def finish(self, job_id: str, error: dict[str, Any] | None = None) -> bool:
        """End a running job; the source goes. False when it was removed in the meantime."""
        told = None if error is None else json.dumps(error)
        state = "done" if error is None else "failed"
        changed = self._execute(
            "UPDATE jobs SET state = ?, finished_at = ?, error = ? WHERE id = ?",
            (state, _now(), told, job_id),
        )
        if changed:
            self.source(job_id).unlink(missing_ok=True)
        else:
            self.remove_files(job_id)
        return changed

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None."""
        rows = self._query("SELECT * FROM jobs WHERE id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def list_jobs(self, owner: str | None, *, everyone: bool) -> list[Job]:
        """Return jobs of an owner, or all, the newest first."""
        rows = self._query(
            "SELECT * FROM jobs WHERE ? OR owner IS ? ORDER BY created_at DESC", (everyone, owner)
        )
        return [_job(row) for row in rows]

    def remove(self, job_id: str) -> bool:
        """Forget a job; False when there is none. Its files go with :meth:`remove_files`."""
        return self._execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def remove_files(self, job_id: str) -> None:
        """Delete the files of a job."""
        shutil.rmtree(self._folder / job_id, ignore_errors=True)

    def expire(self, before: float) -> int:
        """Remove jobs that were finished before then (seconds since the epoch); return how many."""
        rows = self._query("SELECT id FROM jobs WHERE finished_at < ?", (before,))
        for row in rows:
            self.remove(row["id"])
            self.remove_files(row["id"])
        return len(rows)

    def _sweep(self) -> None:
        """Delete folders without a job, and jobs whose source or result is gone."""
        known = {job.id: job for job in self.list_jobs(None, everyone=True)}
        for path in self._folder.iterdir():
            if path.is_dir() and path.name not in known:
                shutil.rmtree(path, ignore_errors=True)
        for job in known.values():
            needed = self.result(job) if job.state == "done" else self.source(job.id)
            if job.state != "failed" and not needed.is_file():
                logger.warning("job {} has lost its files and is removed", job.id)
                self.remove(job.id)
                self.remove_files(job.id)

    def _execute(self, statement: str, values: tuple[object, ...]) -> bool:
        with self._changing() as database:
            return database.execute(statement, values).rowcount > 0

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Give the database for one change, all of it or nothing."""
        with self._lock, telling_where(self._folder), self._database as database:
            yield database

    def _query(self, statement: str, values: tuple[object, ...]) -> list[sqlite3.Row]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()


def new_job_id() -> str:
    """Return an id that nobody guesses."""
    return secrets.token_hex(16)


def _job(row: sqlite3.Row) -> Job:
    content = dict(row)
    error = content.pop("error")
    voice = from_text(content.pop("voice"))
    return Job(**content, voice=voice, error=None if error is None else json.loads(error))


def _now() -> float:
    return round(time.time(), 3)


def _claim(folder: Path) -> int:
    """Take the folder for this process; the lock ends with the file handle, or the process."""
    try:
        return take_lock(folder / ".lock")
    except BlockingIOError as error:
        raise StoreTakenError(
            f"another service keeps its jobs in {folder}; give this one another data_dir"
        ) from error
