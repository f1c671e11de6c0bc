"""Opt-in recording of sessions to disk, while they run.

A recording is three files under ``<outputs>/YYYY/MM/DD/`` that only their owner may read:
``<slug>_input.wav``, ``<slug>_output.wav`` and the timeline. While the session runs the timeline
is ``<slug>_timeline.jsonl`` (a header line, then one event a line); closing turns it into the
document ``<slug>_timeline.json``, in the format of :mod:`fast_vc_service.client.timeline`. What
was written survives the death of the process: wav headers are kept valid, and a cut-off timeline
stays readable line by line.

The event loop only appends to lists. One thread for all recorders writes them out a few times a
second. When the disk fails or cannot keep up, the recording is cut and a warning logged; the
session does not notice.
"""

from __future__ import annotations

import atexit
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from loguru import logger

from fast_vc_service.contract import FloatArray
from fast_vc_service.engine.supervision import OnRestart, ignore_restart, keep_running
from fast_vc_service.sessions.recording import (
    Direction,
    RecordingFiles,
    event_line,
    find_recordings,
    make_slug,
)

MAX_PENDING_BYTES = 16 << 20
"""What one recorder may have waiting for the disk: about four minutes of speech at 16 kHz."""

MAX_TOTAL_PENDING_BYTES = 256 << 20
"""What all recorders of a writer together may have waiting for the disk."""

PERIOD_S = 0.5
"""Time between two passes over all recorders: what a killed process loses at most."""

_EVENT_BYTES = 400
"""Memory an event takes while it waits, the audio itself not counted."""

_TOO_SLOW = "the disk cannot keep up"


class RecordingWriter:
    """The one thread that writes the recordings of a process; starts with the first recorder.

    Args:
        period_s: Time between two passes over all recorders.
        max_pending_bytes: What one recorder may have waiting for the disk.
        max_total_pending_bytes: What all together may have waiting.

    Attributes:
        max_pending_bytes: As given.
        on_restart: Told when the thread has failed and works again.
    """

    def __init__(
        self,
        *,
        period_s: float = PERIOD_S,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        max_total_pending_bytes: int = MAX_TOTAL_PENDING_BYTES,
    ) -> None:
        self.max_pending_bytes = max_pending_bytes
        self._period_s = period_s
        self._room_bytes = max_total_pending_bytes
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._recorders: list[Recorder] = []
        self._thread: threading.Thread | None = None
        self.on_restart: OnRestart = ignore_restart

    def close(self, timeout_s: float = 5.0) -> bool:
        """Close every recorder and write out what waits; blocks, so not for the event loop.

        Returns:
            Whether all was written within ``timeout_s``.
        """
        with self._lock:
            recorders = list(self._recorders)
            thread = self._thread
        for recorder in recorders:
            recorder.close()
        if thread is not None:
            thread.join(timeout_s)
            return not thread.is_alive()
        return True

    def add(self, recorder: Recorder) -> None:
        """Write out ``recorder`` from now on, until it is closed.

        Raises:
            RuntimeError: The system has no thread left.
        """
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="recorder", daemon=True)
                thread.start()
                self._thread = thread
            self._recorders.append(recorder)

    def reserve(self, size_bytes: int) -> bool:
        """Take ``size_bytes`` of the room for waiting data, if there is as much left."""
        with self._lock:
            if size_bytes > self._room_bytes:
                return False
            self._room_bytes -= size_bytes
            return True

    def release(self, size_bytes: int) -> None:
        """Give room back."""
        with self._lock:
            self._room_bytes += size_bytes

    def wake(self) -> None:
        """Make the next pass start at once."""
        self._wake.set()

    def _work(self) -> None:
        keep_running("recorder", self._write_all, on_restart=self._restarted)

    def _restarted(self, name: str) -> None:
        self.on_restart(name)

    def _write_all(self) -> None:
        while True:
            self._wake.wait(self._period_s)
            self._wake.clear()
            with self._lock:
                recorders = list(self._recorders)
            finished = [recorder for recorder in recorders if recorder.write_out()]
            with self._lock:
                for recorder in finished:
                    self._recorders.remove(recorder)
                if not self._recorders:
                    self._thread = None
                    return


SHARED_WRITER = RecordingWriter()
"""The writer of this process; closed when the process ends in order."""

# Its thread is a daemon, so that a hung disk cannot keep a process from ending.
atexit.register(SHARED_WRITER.close)


@dataclass(slots=True)
class _Batch:
    """What came in since the last pass."""

    audio: dict[Direction, list[FloatArray]] = field(
        default_factory=lambda: {"input": [], "output": []}
    )
    lines: list[str] = field(default_factory=list)
    size_bytes: int = 0


class Recorder:
    """Records one session. Its methods cost microseconds, never block and never raise.

    Args:
        folder: The outputs folder; made when needed.
        session_id: As the client gave it; any string.
        started: When the session began; names the folder of the day.
        rate_in: Hz of the input.
        rate_out: Hz of the output.
        label: What the client calls the session besides.
        realtime: Whether the client sends by the clock; its latency means nothing otherwise.
        lead_ms: Silence in front of the output (the delay, where it is not trimmed).
        writer: The thread that does the writing.
    """

    def __init__(
        self,
        folder: Path,
        session_id: str,
        started: datetime,
        rate_in: int,
        rate_out: int,
        *,
        label: str | None = None,
        realtime: bool = True,
        lead_ms: float = 0.0,
        writer: RecordingWriter = SHARED_WRITER,
    ) -> None:
        self.slug = make_slug(session_id, started)
        header = {
            "session_id": session_id,
            "started": started.astimezone(UTC).isoformat(),
            "sample_rate_in": rate_in,
            "sample_rate_out": rate_out,
            "realtime": realtime,
            "lead_ms": lead_ms,
            **({} if label is None else {"label": label}),
        }
        self._files = RecordingFiles(
            folder,
            self.slug,
            day=started.astimezone(UTC).date(),
            header=header,
            rates_hz={"input": rate_in, "output": rate_out},
        )
        self._writer = writer
        self._lock = threading.Lock()
        self._batch = _Batch()
        self._closing = False
        self._cut: str | None = None
        self._epoch_s = time.time() - time.monotonic()
        writer.add(self)

    def input(self, samples: FloatArray, cumulative_ms: float) -> None:
        """Record input ``[n]`` at ``rate_in``; with it the client has sent ``cumulative_ms``."""
        self._keep("input", samples, cumulative_ms)

    def output(self, samples: FloatArray, cumulative_ms: float) -> None:
        """Record output ``[n]`` at ``rate_out``; ``cumulative_ms`` of it have been sent."""
        self._keep("output", samples, cumulative_ms)

    def close(self) -> None:
        """Record no more; the writer completes the files."""
        self._closing = True
        self._writer.wake()

    def write_out(self) -> bool:
        """Write what came in to disk; for the writer's thread alone.

        Returns:
            Whether the recording is finished.
        """
        closing = self._closing
        with self._lock:
            batch, self._batch = self._batch, _Batch()
        # One recording's trouble, of whatever kind, must not end the others'.
        try:
            self._files.write(batch.audio, batch.lines)
            if closing:
                self._files.finish(self._cut)
        except Exception as error:
            self._cut_off(f"{type(error).__name__}: {error}")
            self._files.abandon()
            return True
        finally:
            self._writer.release(batch.size_bytes)
        return closing

    def _keep(self, direction: Direction, samples: FloatArray, cumulative_ms: float) -> None:
        if self._closing or not len(samples):
            return
        size_bytes = samples.nbytes + _EVENT_BYTES
        line = event_line(direction, self._epoch_s + time.monotonic(), cumulative_ms)
        if self._batch.size_bytes + size_bytes > self._writer.max_pending_bytes:
            self._cut_off(_TOO_SLOW)
        elif not self._writer.reserve(size_bytes):
            self._cut_off(f"{_TOO_SLOW} with all recordings")
        else:
            with self._lock:
                self._batch.audio[direction].append(samples)
                self._batch.lines.append(line)
                self._batch.size_bytes += size_bytes

    def _cut_off(self, reason: str) -> None:
        self._cut = reason
        self.close()
        logger.warning("recording {} was cut off: {}", self.slug, reason)


def prune(folder: Path, days: int) -> int:
    """Delete the recordings under ``folder`` last written to more than ``days`` days ago.

    Blocks, so not for the event loop. A recording that is being written is never that old.

    Returns:
        How many recordings were deleted.

    Raises:
        ValueError: ``days`` is not positive.
    """
    if days < 1:
        raise ValueError(f"expected days >= 1, got {days}: 0 would delete running recordings")
    horizon_s = time.time() - days * 86_400
    pruned = 0
    for recording in find_recordings(folder):
        paths = recording.files.values()
        # A file may vanish meanwhile: another service may share the folder.
        with suppress(FileNotFoundError):
            if max(path.stat().st_mtime for path in paths) < horizon_s:
                for path in paths:
                    path.unlink()
                pruned += 1
                # Fails while other recordings are left in it. No new one can come: its day is over.
                with suppress(OSError):
                    next(iter(paths)).parent.rmdir()
    return pruned
