"""Who converts the files: threads that yield to the model threads of live sessions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import soundfile
from loguru import logger

from fast_vc_service.audio.files import AudioFileError, AudioInfo
from fast_vc_service.contract import CannotBlendError, Converter, Voice
from fast_vc_service.engine.files import FileFormat, convert_blocks, encode_blocks, write_blocks
from fast_vc_service.server.jobs.store import Job, JobStore
from fast_vc_service.server.problems import ProblemError, problem
from fast_vc_service.server.refusals import no_blend, unreadable
from fast_vc_service.sessions.errors import ErrorCode

NICENESS = 10
UNREAD_S = 30.0
"""How long a client may read nothing of a result before its conversion is given up."""

_PIECES = 4

FindVoice = Callable[[str, str | None], Voice]


class StoppedError(Exception):
    """A conversion is not wanted any more."""


class FileWork:
    """Converts files, a few at a time.

    Args:
        build: Makes the converter (file geometry); called once, when first needed.
        find_voice: Returns the voice of a name for an owner; raises as the catalogue does.
        workers: Jobs converted at the same time, and as many direct conversions.
    """

    def __init__(self, build: Callable[[], Converter], find_voice: FindVoice, workers: int) -> None:
        self._build = build
        self._find_voice = find_voice
        self.workers = workers
        self._building = threading.Lock()
        self._direct = self._threads("file")
        self._of_jobs = self._threads("job")
        self._busy = 0
        self._stopping = threading.Event()
        self._running: dict[str, threading.Event] = {}
        self._progress: dict[str, float] = {}
        self._wake = asyncio.Event()

    # ----------------------------------------------------------------- at once

    @property
    def full(self) -> bool:
        """Whether every direct conversion that may run does."""
        return self._busy >= self.workers

    async def stream(
        self,
        source: Path,
        info: AudioInfo,
        voice: Voice,
        *,
        pitch_shift: float,
        file_format: FileFormat,
    ) -> AsyncIterator[bytes]:
        """Yield the bytes of a converted file as they are made; stops when nobody reads them."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(_PIECES)
        stop = threading.Event()

        def put(piece: bytes | BaseException | None) -> None:
            handed = asyncio.run_coroutine_threadsafe(pieces.put(piece), loop)
            waited_s = 0.0
            while waited_s < UNREAD_S and not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    handed.result(0.5)
                    return
                waited_s += 0.5
            handed.cancel()
            raise StoppedError

        def work() -> None:
            try:
                blocks = convert_blocks(self._converter, voice, source, info, pitch_shift)
                for piece in encode_blocks(blocks, info=info, file_format=file_format):
                    if stop.is_set() or self._stopping.is_set():
                        raise StoppedError
                    if piece:
                        put(piece)
                put(None)
            except StoppedError:
                pass
            except Exception as error:
                logger.exception("a file could not be converted")
                with contextlib.suppress(StoppedError):
                    put(error)

        def done(_working: asyncio.Future[None]) -> None:
            self._busy -= 1

        self._busy += 1
        working = loop.run_in_executor(self._direct, work)
        working.add_done_callback(done)
        try:
            while (piece := await pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    # The head of the response is gone: only cutting it short tells of this.
                    raise piece
                yield piece
        finally:
            stop.set()

    # -------------------------------------------------------------------- jobs

    def wake(self) -> None:
        """Say that a job was added."""
        self._wake.set()

    def progress(self, job_id: str) -> float:
        """Return the share (0 to 1) of a running job that is done."""
        return self._progress.get(job_id, 0.0)

    def cancel(self, job_id: str) -> bool:
        """Stop a job between two blocks; False when it is not running."""
        running = self._running.get(job_id)
        if running is not None:
            running.set()
        return running is not None

    async def run_jobs(self, store: JobStore) -> None:
        """Convert what waits in ``store``, for ever; cancelled, jobs go back to waiting."""
        workers = [asyncio.create_task(self._work_jobs(store)) for _ in range(self.workers)]
        try:
            await asyncio.gather(*workers)
        finally:
            self._stopping.set()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work_jobs(self, store: JobStore) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            self._wake.clear()
            job = await asyncio.to_thread(store.take)
            if job is None:
                await self._wake.wait()
                continue
            stop = self._running[job.id] = threading.Event()
            working = loop.run_in_executor(self._of_jobs, self._convert, store, job, stop)
            try:
                await asyncio.shield(working)
            except asyncio.CancelledError:
                await asyncio.wait({working})
                raise
            finally:
                self._running.pop(job.id, None)
                self._progress.pop(job.id, None)

    def _convert(self, store: JobStore, job: Job, stop: threading.Event) -> None:
        started = time.monotonic()

        def progress(share: float) -> None:
            self._progress[job.id] = share
            if stop.is_set() or self._stopping.is_set():
                raise StoppedError

        try:
            voice = self._find_voice(job.voice, job.owner)
            info = AudioInfo(job.sample_rate, job.channels, job.frames)
            source = store.source(job.id)
            write_blocks(
                convert_blocks(self._converter, voice, source, info, job.pitch_shift),
                store.result(job),
                info=info,
                file_format=job.format,
                progress=progress,
            )
            if store.finish(job.id):
                logger.info(
                    "job {}: {:.1f} s converted in {:.1f} s",
                    job.id,
                    job.duration_s,
                    time.monotonic() - started,
                )
        except StoppedError:
            if stop.is_set():
                store.remove_files(job.id)
            else:
                store.put_back(job.id)
        except Exception as error:  # a job ends with its error, the worker goes on
            if not isinstance(error, AudioFileError | LookupError | CannotBlendError):
                logger.exception("job {} failed", job.id)
            store.finish(job.id, _told(error))

    def stop(self) -> None:
        """End all conversions after the block that is being made."""
        self._stopping.set()
        self._direct.shutdown(wait=True, cancel_futures=True)
        self._of_jobs.shutdown(wait=True, cancel_futures=True)

    @property
    def _converter(self) -> Converter:
        with self._building:
            return self._built

    @cached_property
    def _built(self) -> Converter:
        return self._build()

    def _threads(self, name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.workers, name, initializer=_yield_to_sessions)


def _told(error: Exception) -> dict[str, object]:
    if isinstance(error, AudioFileError | soundfile.SoundFileError):
        return unreadable(AudioFileError("the file cannot be decoded: it is damaged")).body
    if isinstance(error, LookupError):
        return problem(ErrorCode.UNKNOWN_VOICE, "the voice was removed before the job began")
    if isinstance(error, CannotBlendError):
        return no_blend(error).body
    if isinstance(error, ProblemError):
        return error.body
    return problem(
        ErrorCode.INTERNAL_ERROR,
        "the service made a mistake",
        hint="the log of the service says more",
    )


def _yield_to_sessions() -> None:
    """Give this thread a lower priority; on Linux each has its own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
