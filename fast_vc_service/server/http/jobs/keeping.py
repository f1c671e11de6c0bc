"""The jobs of a service: kept, converted and removed in their time."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger

from fast_vc_service.engine.supervision import OnRestart, cancel_all, supervise
from fast_vc_service.process.disk import is_disk_error
from fast_vc_service.process.scratch import ScratchFolder
from fast_vc_service.server.http.jobs.decoding import FileDecoder
from fast_vc_service.server.http.jobs.models import FileLimits
from fast_vc_service.server.http.jobs.store import JobStore, StoreTakenError
from fast_vc_service.server.http.jobs.work import DISK_RETRY_S, FileWork

EXPIRE_INTERVAL_S = 60.0
"""How often old jobs are looked for."""


@dataclass
class FileJobs:
    """Files that are converted over HTTP.

    Attributes:
        work: Who converts.
        decoder: Who reads uploaded files.
        scratch: Where uploads lie as long as they are needed.
        limits: What a file may be.
        retention_s: How long a finished job is kept.
        store: Where jobs are kept; None while they cannot be.
        close_workers: Ends the processes that read uploads and make voices.
    """

    work: FileWork
    decoder: FileDecoder
    scratch: ScratchFolder
    limits: FileLimits = field(default_factory=FileLimits)
    retention_s: float = 24 * 3600.0
    store: JobStore | None = None
    close_workers: Callable[[], None] = lambda: None

    async def run(
        self, folder: Path, max_waiting: int, begin: asyncio.Event, on_restart: OnRestart
    ) -> None:
        """Convert jobs and remove old ones, for ever.

        Args:
            folder: Where they are kept.
            max_waiting: How many may wait.
            begin: Set when the first may be converted.
            on_restart: Told of what fails and is started again.
        """
        try:
            store = await self._opened(folder, max_waiting)
        except StoreTakenError as error:
            logger.warning("this service keeps no jobs: {}", error)
            return
        self.store = store
        expiring = asyncio.create_task(
            supervise("job-expiry", lambda: self._expire(store), on_restart=on_restart),
            name="job-expiry",
        )
        try:
            await begin.wait()
            await self.work.run_jobs(store, on_restart=on_restart)
        finally:
            await cancel_all([expiring])
            self.store = None
            store.close()

    async def _opened(self, folder: Path, max_waiting: int) -> JobStore:
        while True:
            try:
                return await asyncio.to_thread(JobStore, folder, max_waiting)
            except (OSError, sqlite3.Error) as error:
                if not is_disk_error(error):
                    raise
                logger.warning("this service keeps no jobs yet: {}", error)
            await asyncio.sleep(DISK_RETRY_S)

    async def _expire(self, store: JobStore) -> None:
        while True:
            before = time.time() - self.retention_s
            try:
                if removed := await asyncio.to_thread(store.expire, before):
                    logger.info("{} old jobs removed", removed)
            except (OSError, sqlite3.Error) as error:
                if not is_disk_error(error):
                    raise
                logger.warning("old jobs cannot be removed: {}", error)
            await asyncio.sleep(min(EXPIRE_INTERVAL_S, self.retention_s))
