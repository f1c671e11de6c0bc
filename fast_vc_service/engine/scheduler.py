"""The model threads: they gather ready blocks of all sessions, step the converter, post results.

A session opens a :class:`Slot`, submits blocks and gets each answer by callback in its own thread
(``post`` carries it there: an event loop's ``call_soon_threadsafe``). One thread a device batches;
a family that only loops over its batch gains from several threads with batches of one instead.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable

import numpy as np
from loguru import logger

from fast_vc_service.contract import Converter, FloatArray, State, Voice, block_out
from fast_vc_service.engine.batching import Job, JobQueue, Result, VoiceChange

Post = Callable[[Callable[[], None]], object]


class Scheduler:
    """Runs one converter for many sessions.

    Args:
        converter: Shared by all threads; states are never shared.
        threads: Model threads.
        max_batch: Most sessions a step.
        gather_s: How long the first ready block waits for others to share its step.
        on_step: Called from a model thread after each step with (wall seconds, batch size).
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        converter: Converter,
        *,
        threads: int,
        max_batch: int,
        gather_s: float = 0.0,
        on_step: Callable[[float, int], None] = lambda _seconds, _batch: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.converter = converter
        self._gather_s = gather_s
        self._on_step = on_step
        self._clock = clock
        self._queue = JobQueue(max_batch)
        self._states: dict[int, tuple[State, Post]] = {}
        self._channels = itertools.count(1)
        self._wake = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"model-{index}", daemon=True)
            for index in range(threads)
        ]

    @property
    def live(self) -> int:
        """Open slots."""
        return len(self._states)

    def start(self) -> None:
        """Start the model threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the model threads after the steps that are running; waiting work is dropped."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def open(self, voice: Voice, pitch_shift: float, seed: int, *, post: Post) -> Slot:
        """Make a slot for a new session; how many there may be is the engine's decision.

        Args:
            voice: Target voice.
            pitch_shift: Semitones.
            seed: Noise seed.
            post: Hands a callable over to the thread that owns the session.
        """
        state = self.converter.new_state(voice, pitch_shift, seed)
        with self._wake:
            channel = next(self._channels)
            self._states[channel] = (state, post)
        return Slot(self, channel)

    def now(self) -> float:
        """Monotonic seconds on the scheduler's clock."""
        return self._clock()

    def submit(self, job: Job) -> None:
        """Queue a job; ignored when its session has closed."""
        with self._wake:
            if job.channel in self._states:
                self._queue.push(job)
                self._wake.notify()

    def close(self, channel: int) -> None:
        """Give a slot back; its waiting work is forgotten, its running step goes nowhere."""
        with self._wake:
            self._states.pop(channel, None)
            self._queue.cancel(channel)

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._queue.runnable and not self._stopping:
                    self._wake.wait()
            if self._gather_s:
                time.sleep(self._gather_s)
            with self._wake:
                batch = self._queue.take()
                if self._stopping:
                    return
                owners = {job.channel: self._states[job.channel] for job in batch}
            if not batch:
                continue
            results = self._run(batch, [owners[job.channel][0] for job in batch])
            with self._wake:
                self._queue.finish(batch)
                if len(self._queue):
                    self._wake.notify()
            self._deliver(batch, results, owners)

    def _run(self, batch: list[Job], states: list[State]) -> list[Result]:
        now = self._clock()
        late = [job.late_at is not None and now > job.late_at for job in batch]
        rows = [row for row in range(len(batch)) if self._retargeted(batch[row], states[row])]
        rows = [row for row in rows if not late[row]]
        converted: dict[int, FloatArray] = {}
        step_s = 0.0
        if rows:
            converted = self._step(batch, states, rows)
            step_s = self._clock() - now
            self._on_step(step_s, len(rows))
        results = []
        for row, (job, state) in enumerate(zip(batch, states, strict=True)):
            queued_s = now - job.submitted_at
            if row in converted:
                results.append(Result(converted[row], step_s, queued_s, None))
            else:
                reason = "late" if late[row] else "failed"
                results.append(Result(self._silence(state), 0.0, queued_s, reason))
        return results

    def _retargeted(self, job: Job, state: State) -> bool:
        if job.change is not None:
            try:
                self.converter.update(state, job.change.voice, job.change.pitch_shift)
            except Exception:
                logger.exception("changing the voice of a session failed")
                return False
        return True

    def _silence(self, state: State) -> FloatArray:
        try:
            return self.converter.skip(state)
        except Exception:
            logger.exception("skipping a block failed")
            return np.zeros(block_out(self.converter), np.float32)

    def _step(
        self, batch: list[Job], states: list[State], rows: list[int]
    ) -> dict[int, FloatArray]:
        """Step the sessions of ``rows`` together or, if that fails, each alone once."""
        try:
            return self._checked(batch, states, rows)
        except Exception:
            logger.exception("a step over {} sessions failed", len(rows))
            if len(rows) == 1:
                return {}
        converted: dict[int, FloatArray] = {}
        for row in rows:
            try:
                converted |= self._checked(batch, states, [row])
            except Exception:
                logger.exception("the step of a session alone failed as well")
        return converted

    def _checked(
        self, batch: list[Job], states: list[State], rows: list[int]
    ) -> dict[int, FloatArray]:
        blocks = np.concatenate([batch[row].block for row in rows]).reshape(len(rows), -1)
        output = self.converter.step(blocks, [states[row] for row in rows])
        answers = dict(zip(rows, output, strict=True))
        if np.isfinite(output).all():
            return answers
        logger.error("a step gave samples that are not finite")
        return {row: answer for row, answer in answers.items() if np.isfinite(answer).all()}

    def _deliver(
        self, batch: list[Job], results: list[Result], owners: dict[int, tuple[State, Post]]
    ) -> None:
        by_post: dict[Post, list[tuple[Job, Result]]] = {}
        for job, result in zip(batch, results, strict=True):
            by_post.setdefault(owners[job.channel][1], []).append((job, result))
        for post, pairs in by_post.items():
            try:
                post(functools.partial(self._hand_over, pairs))
            except RuntimeError:
                # The owner's loop has closed: nobody is left to hear the result.
                logger.debug("{} results had no owner left", len(pairs))

    def _hand_over(self, pairs: list[tuple[Job, Result]]) -> None:
        for job, result in pairs:
            if job.channel in self._states:
                # One session's fault must not cost the others their results.
                try:
                    job.done(result)
                except Exception:
                    logger.exception("a session could not take its result")


class Slot:
    """One session's place in the scheduler; belongs to the thread that opened it."""

    def __init__(self, scheduler: Scheduler, channel: int) -> None:
        self._scheduler = scheduler
        self._channel = channel

    def submit(
        self,
        block: FloatArray,
        done: Callable[[Result], None],
        *,
        due_at: float | None,
        late_at: float | None,
        change: VoiceChange | None = None,
    ) -> None:
        """Queue ``block`` ``[block]``; ``done`` gets the result unless the slot closes first."""
        now = self._scheduler.now()
        self._scheduler.submit(Job(self._channel, block, now, due_at, late_at, change, done))

    def close(self) -> None:
        """Give the slot back; no callback comes after this."""
        self._scheduler.close(self._channel)
