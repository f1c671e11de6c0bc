"""The model threads: they gather ready blocks of all sessions, step the converter, post results.

A session opens a :class:`Slot`, submits blocks and gets each answer by callback in its own thread
(``post`` carries it there: an event loop's ``call_soon_threadsafe``). One thread a device batches;
a family that only loops over its batch gains from several threads with batches of one instead.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
import time
from collections.abc import Callable

import numpy as np
from loguru import logger

from fast_vc_service.contract import Converter, FloatArray, State, Voice, block_out
from fast_vc_service.engine.batching import Batch, Job, JobQueue, Result, VoiceChange

Post = Callable[[Callable[[], None]], object]

SMOOTHED_STEPS = 20
"""Steps over which the expected step time is averaged."""


class Scheduler:
    """Runs one converter for many sessions.

    Args:
        converter: Shared by all threads; states are never shared.
        threads: Model threads.
        max_batch: Most sessions a step.
        gather_s: Longest that a ready block waits for others to share its step.
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
        self._on_step = on_step
        self._clock = clock
        self._queue = JobQueue(max_batch, gather_s=gather_s, workers=threads)
        self._owners: dict[int, tuple[State, Post]] = {}
        self._channels = itertools.count(1)
        self._wake = threading.Condition(threading.Lock())
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"model-{index}", daemon=True)
            for index in range(threads)
        ]

    @property
    def live(self) -> int:
        """Open slots."""
        return len(self._owners)

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
            self._owners[channel] = (state, post)
            self._queue.open(channel)
        return Slot(self, channel)

    def now(self) -> float:
        """Monotonic seconds on the scheduler's clock."""
        return self._clock()

    def submit(self, job: Job) -> None:
        """Queue a job; ignored when its session has closed."""
        queue = self._queue
        with self._wake:
            planned = queue.leave_at()
            queue.push(job)
            if queue.leave_at() < planned:
                self._wake.notify()

    def close(self, channel: int) -> None:
        """Give a slot back; its waiting work is forgotten, its running step goes nowhere."""
        with self._wake:
            self._owners.pop(channel, None)
            self._queue.close(channel)

    def _work(self) -> None:
        while (taken := self._next_batch()) is not None:
            batch, owners = taken
            answers = self._run(batch, {number: state for number, (state, _) in owners.items()})
            with self._wake:
                self._queue.finish(batch)
                if self._queue.leave_at() <= self._clock():
                    self._wake.notify()
            self._deliver(answers, owners)

    def _next_batch(self) -> tuple[Batch, dict[int, tuple[State, Post]]] | None:
        """Wait for work; None when the scheduler stops."""
        with self._wake:
            while not self._stopping:
                now = self._clock()
                leave_at = self._queue.leave_at()
                if leave_at <= now:
                    batch = self._queue.take(now)
                    if self._queue.leave_at() <= now:
                        self._wake.notify()
                    return batch, {number: self._owners[number] for number in batch.channels}
                self._wake.wait(None if leave_at == math.inf else leave_at - now)
        return None

    def _run(self, batch: Batch, states: dict[int, State]) -> list[tuple[Job, Result]]:
        """Skip what is late, step the rest; the results of each session are in order."""
        now = self._clock()
        answers = []
        for job in batch.late:
            self._retarget(job, states[job.channel])
            samples = self._silence(states[job.channel])
            answers.append((job, Result(samples, 0.0, now - job.submitted_at, "late")))
        jobs = [job for job in batch.jobs if self._retarget(job, states[job.channel])]
        converted = self._step(jobs, [states[job.channel] for job in jobs]) if jobs else {}
        step_s = self._clock() - now
        if jobs:
            self._queue.step_s += (step_s - self._queue.step_s) / SMOOTHED_STEPS
            self._on_step(step_s, len(jobs))
        for job in batch.jobs:
            queued_s = now - job.submitted_at
            row = converted.get(job.channel)
            if row is not None:
                answers.append((job, Result(row, step_s, queued_s, None)))
            else:
                samples = self._silence(states[job.channel])
                answers.append((job, Result(samples, 0.0, queued_s, "failed")))
        return answers

    def _retarget(self, job: Job, state: State) -> bool:
        """Apply the change of voice that comes with ``job``; False when that fails."""
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

    def _step(self, jobs: list[Job], states: list[State]) -> dict[int, FloatArray]:
        """Step the sessions together or, if that fails, each alone once; output by channel."""
        try:
            return self._checked(jobs, states)
        except Exception:
            logger.exception("a step over {} sessions failed", len(jobs))
            if len(jobs) == 1:
                return {}
        converted: dict[int, FloatArray] = {}
        for job, state in zip(jobs, states, strict=True):
            try:
                converted |= self._checked([job], [state])
            except Exception:
                logger.exception("the step of a session alone failed as well")
        return converted

    def _checked(self, jobs: list[Job], states: list[State]) -> dict[int, FloatArray]:
        blocks = np.concatenate([job.block for job in jobs]).reshape(len(jobs), -1)
        output = self.converter.step(blocks, states)
        answers = dict(zip([job.channel for job in jobs], output, strict=True))
        if np.isfinite(output).all():
            return answers
        logger.error("a step gave samples that are not finite")
        return {channel: row for channel, row in answers.items() if np.isfinite(row).all()}

    def _deliver(
        self, answers: list[tuple[Job, Result]], owners: dict[int, tuple[State, Post]]
    ) -> None:
        by_post: dict[Post, list[tuple[Job, Result]]] = {}
        for answer in answers:
            by_post.setdefault(owners[answer[0].channel][1], []).append(answer)
        for post, pairs in by_post.items():
            try:
                post(functools.partial(self._hand_over, pairs))
            except RuntimeError:
                # The owner's loop has closed: nobody is left to hear the result.
                logger.debug("{} results had no owner left", len(pairs))

    def _hand_over(self, pairs: list[tuple[Job, Result]]) -> None:
        for job, result in pairs:
            if job.channel in self._owners:
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
        deadline: float | None,
        late_at: float | None,
        change: VoiceChange | None = None,
    ) -> None:
        """Queue ``block`` ``[block]``; ``done`` gets the result unless the slot closes first."""
        now = self._scheduler.now()
        self._scheduler.submit(Job(self._channel, block, now, deadline, late_at, change, done))

    def close(self) -> None:
        """Give the slot back; no callback comes after this."""
        self._scheduler.close(self._channel)
