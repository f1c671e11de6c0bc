"""Uploaded files, read by a worker: what they are, and their samples in a file that we wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from fast_vc_service.audio.files import AudioInfo
from fast_vc_service.audio.untrusted import decode, examine
from fast_vc_service.process.scratch import ScratchFolder
from fast_vc_service.process.worker.pool import never
from fast_vc_service.process.worker.work import Result, Work

DECODED = "decoded.wav"

SPEED = 10.0
"""Seconds of audio that are decoded in a second of processor time, by far the slowest machine."""

LEAST_CPU_S = 20.0
MEMORY_BYTES = 1 << 30
_SPARE_S = 1.0


class Workers(Protocol):
    """Who does the work."""

    def submit(self, work: Work[Result], stopped: Callable[[], bool] = never) -> Future[Result]:
        """See :meth:`~fast_vc_service.process.worker.pool.WorkerPool.submit`."""
        ...


class FileDecoder:
    """Reads files that strangers sent; nothing of them is decoded in this process.

    Args:
        workers: Who reads them.
        scratch: Where decoded files lie as long as they are needed.
    """

    def __init__(self, workers: Workers, scratch: ScratchFolder) -> None:
        self._workers = workers
        self._scratch = scratch

    async def examine(self, path: Path, *, max_s: float) -> AudioInfo:
        """Return what a file is; see :func:`~fast_vc_service.audio.untrusted.examine`.

        Raises:
            AudioFileError: It cannot be used.
            WorkFailedError: The worker failed at it.
        """
        work = _work("an upload is examined", partial(examine, path, max_s=max_s), max_s)
        return await asyncio.wrap_future(self._workers.submit(work))

    async def decode(self, path: Path, target: Path, *, max_s: float) -> AudioInfo:
        """Decode a file into another; see :func:`~fast_vc_service.audio.untrusted.decode`.

        Raises:
            AudioFileError: It cannot be used.
            WorkFailedError: The worker failed at it.
            OSError: ``target`` cannot be written.
        """
        work = _work("an upload is decoded", partial(decode, path, target, max_s=max_s), max_s)
        return await asyncio.wrap_future(self._workers.submit(work))

    @contextmanager
    def decoded(self, path: Path, info: AudioInfo, stopped: Callable[[], bool]) -> Iterator[Path]:
        """Give the decoded file of one that was examined; the thread waits for it.

        Args:
            path: The file.
            info: What was found out about it.
            stopped: Whether the decoded file is not wanted any more.

        Raises:
            AudioFileError: It cannot be used.
            WorkFailedError: The worker failed at it.
            WorkStoppedError: ``stopped`` said so.
            OSError: The decoded file cannot be written.
        """
        max_s = info.duration_s + _SPARE_S
        with self._scratch.place() as folder:
            target = folder / DECODED
            run = partial(decode, path, target, max_s=max_s)
            work = _work("the file of a job is decoded", run, max_s)
            self._workers.submit(work, stopped).result()
            yield target


def _work(what: str, run: Callable[[], Result], max_s: float) -> Work[Result]:
    return Work(what, run, cpu_s=LEAST_CPU_S + max_s / SPEED, memory_bytes=MEMORY_BYTES)
