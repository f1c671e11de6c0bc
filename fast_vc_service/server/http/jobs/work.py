"""Who converts the files: threads that yield to the model threads of live sessions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import soundfile
from loguru import logger

from fast_vc_service.audio.files import AudioFileError, AudioInfo
from fast_vc_service.contract import CannotBlendError, Converter, Voice
from fast_vc_service.engine.device_errors import is_out_of_memory
from fast_vc_service.engine.files import FileFormat, convert_blocks, encode_blocks, write_blocks
from fast_vc_service.engine.supervision import OnRestart, cancel_all, ignore_restart, supervise
from fast_vc_service.process.disk import is_disk_error
from fast_vc_service.process.worker.work import WorkFailedError
from fast_vc_service.protocol.codes import EdgeCode, ErrorCode
from fast_vc_service.protocol.voice_choice import VoiceChoice
from fast_vc_service.server.http.jobs.decoding import FileDecoder
from fast_vc_service.server.http.jobs.store import Job, JobStore
from fast_vc_service.server.http.problems import ProblemError, problem
from fast_vc_service.server.http.refusals import no_blend, not_examined, unreadable

NICENESS = 10
UNREAD_S = 30.0
"""How long a client may read nothing of a result before its conversion is given up."""

STOP_S = 2.0
"""How long conversions have to end when the service does."""

DISK_RETRY_S = 2.0
"""How long jobs wait before a disk that could not be written is tried again."""

_PIECES = 4

_EXPECTED = (AudioFileError, LookupError, CannotBlendError, WorkFailedError)

FindVoice = Callable[[VoiceChoice, str | None], Voice]


class StoppedError(Exception):
    """A conversion is not wanted any more."""


class ConversionError(Exception):
    """A conversion has failed; the log says why."""


class FileWork:
    """Converts files, a few at a time.

    Args:
        build: Makes the converter (file geometry); called once, when first needed.
        find_voice: Returns the voice of a choice for an owner; raises as the catalogue does.
        decoder: Reads the files of jobs.
        workers: Jobs converted at the same time, and as many direct conversions.
    """

    def __init__(
        self,
        build: Callable[[], Converter],
        find_voice: FindVoice,
        decoder: FileDecoder,
        workers: int,
    ) -> None:
        self._build = build
        self._find_voice = find_voice
        self._decoder = decoder
        self.workers = workers
        self._building = threading.Lock()
        self._direct = self._threads("file")
        self._of_jobs = self._threads("job")
        self._busy = 0
        self._stopping = threading.Event()
        self._working: set[Future[None]] = set()
        self._unended: list[str] = []
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
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_PIECES)
        stop = threading.Event()

        def put(piece: bytes | None) -> None:
            handed = asyncio.run_coroutine_threadsafe(pieces.put(piece), loop)
            waited_s = 0.0
            while waited_s < UNREAD_S and not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    handed.result(0.5)
                    return
                waited_s += 0.5
            handed.cancel()
            raise StoppedError

        def convert() -> None:
            try:
                blocks = convert_blocks(self._converter, voice, source, info, pitch_shift)
                for piece in encode_blocks(blocks, info=info, file_format=file_format):
                    if stop.is_set() or self._stopping.is_set():
                        raise StoppedError
                    if piece:
                        put(piece)
                put(None)
            except StoppedError:
                # Whoever still reads is told that no more comes.
                raise
            except BaseException as error:
                if stop.is_set():  # nobody reads any more, and the upload is gone with its request
                    raise StoppedError from error
                logger.exception("a file could not be converted")
                raise ConversionError from error

        working = self._begin(self._direct, convert)
        self._busy += 1
        working.add_done_callback(lambda _working: self._direct_ended())
        getting = asyncio.ensure_future(pieces.get())
        try:
            while True:
                either: set[asyncio.Future[Any]] = {getting, working}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done() and pieces.empty():
                    # The head of the response is gone: only cutting it short tells of an error.
                    working.result()
                    raise ConversionError
                piece = await getting
                if piece is None:
                    return
                getting = asyncio.ensure_future(pieces.get())
                yield piece
        finally:
            stop.set()
            getting.cancel()

    def _direct_ended(self) -> None:
        self._busy -= 1

    def _begin(
        self, threads: ThreadPoolExecutor, convert: Callable[[], None]
    ) -> asyncio.Future[None]:
        """Have a conversion run in a thread; its error is its reader's, if there is one."""
        running = threads.submit(convert)
        self._working.add(running)
        running.add_done_callback(self._working.discard)
        working = asyncio.wrap_future(running)
        working.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        return working

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

    async def run_jobs(self, store: JobStore, on_restart: OnRestart = ignore_restart) -> None:
        """Convert what waits in ``store``, for ever; cancelled, jobs go back to waiting.

        Args:
            store: The jobs.
            on_restart: Told of every worker that has failed and is started again.
        """
        workers = [
            asyncio.create_task(
                supervise("job-worker", lambda: self._work_jobs(store), on_restart=on_restart),
                name="job-worker",
            )
            for _ in range(self.workers)
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            await cancel_all(workers)

    async def _work_jobs(self, store: JobStore) -> None:
        while not self._stopping.is_set():
            try:
                await self._work_next(store)
            except (OSError, sqlite3.Error) as error:
                if not is_disk_error(error):
                    raise
                logger.warning("jobs wait until the disk can be written: {}", error)
                await asyncio.sleep(DISK_RETRY_S)

    async def _work_next(self, store: JobStore) -> None:
        while self._unended:
            # The store could not even take the end of it, when its worker failed.
            await asyncio.to_thread(store.put_back, self._unended[-1])
            self._unended.pop()
        self._wake.clear()
        job = await asyncio.to_thread(store.take)
        if job is None:
            await self._wake.wait()
        else:
            await self._work_job(store, job)

    async def _work_job(self, store: JobStore, job: Job) -> None:
        stop = self._running[job.id] = threading.Event()
        try:
            working = self._begin(self._of_jobs, partial(self._convert, store, job, stop))
            try:
                await asyncio.shield(working)
            except asyncio.CancelledError:
                # A worker is cancelled when the service ends, and not before.
                self.halt()
                await asyncio.wait({working}, timeout=STOP_S)
                raise
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._unended.append(job.id)
            raise
        finally:
            self._running.pop(job.id, None)
            self._progress.pop(job.id, None)

    def _convert(self, store: JobStore, job: Job, stop: threading.Event) -> None:
        started = time.monotonic()

        def stopped() -> bool:
            return stop.is_set() or self._stopping.is_set()

        def progress(share: float) -> None:
            self._progress[job.id] = share
            if stopped():
                raise StoppedError

        try:
            voice = self._find_voice(job.voice, job.owner)
            info = AudioInfo(job.sample_rate, job.channels, job.frames)
            with self._decoder.decoded(store.source(job.id), info, stopped) as source:
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
        except BaseException as error:  # a job ends with its error, the worker goes on
            if stop.is_set():
                store.remove_files(job.id)
                return
            if self._stopping.is_set():
                store.put_back(job.id)
                return
            if is_disk_error(error):
                logger.warning("job {} failed, since its result cannot be kept: {}", job.id, error)
            elif not isinstance(error, _EXPECTED):
                logger.exception("job {} failed", job.id)
            store.finish(job.id, _told(error))

    def halt(self) -> None:
        """Have all conversions end after the block that is being made; no other begins."""
        self._stopping.set()

    def stop(self, seconds: float = STOP_S) -> None:
        """End all conversions; those whose block takes longer than ``seconds`` are left alone."""
        self.halt()
        for threads in (self._direct, self._of_jobs):
            threads.shutdown(wait=False, cancel_futures=True)
        left = wait(list(self._working), timeout=seconds).not_done
        if left:
            logger.warning("{} conversions did not end within {:g} s", len(left), seconds)

    @property
    def _converter(self) -> Converter:
        with self._building:
            return self._built

    @cached_property
    def _built(self) -> Converter:
        return self._build()

    def _threads(self, name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.workers, name, initializer=_yield_to_sessions)


def _told(error: BaseException) -> dict[str, object]:
    if is_disk_error(error):
        return problem(
            EdgeCode.NO_SPACE,
            "the service cannot write the result to its disk",
            hint="its operator has to make room; then send the file again",
        )
    if isinstance(error, AudioFileError | soundfile.SoundFileError):
        return unreadable(AudioFileError("the file cannot be decoded: it is damaged")).body
    if isinstance(error, WorkFailedError):
        return not_examined(error).body
    if isinstance(error, LookupError):
        return problem(ErrorCode.UNKNOWN_VOICE, "the voice was removed before the job began")
    if isinstance(error, CannotBlendError):
        return no_blend(error).body
    if isinstance(error, ProblemError):
        return error.body
    if is_out_of_memory(error):
        return problem(
            ErrorCode.INTERNAL_ERROR,
            "the device had no memory for this file",
            hint="send it again when fewer sessions are live",
        )
    return problem(
        ErrorCode.INTERNAL_ERROR,
        "the service made a mistake",
        hint="the log of the service says more",
    )


def _yield_to_sessions() -> None:
    """Give this thread a lower priority; on Linux each has its own."""
    # Whatever goes wrong here must not break the pool.
    if sys.platform == "linux":
        with contextlib.suppress(Exception):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
