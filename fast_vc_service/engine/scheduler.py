"""The model threads: they gather ready blocks of all sessions, step the converter, post results.

A session reserves a :class:`Slot`, has its state made, submits blocks and gets each answer by
callback in its own thread (``post`` carries it there: an event loop's ``call_soon_threadsafe``).
One thread a device batches; a family that only loops over its batch gains from several threads
with batches of one instead.

A model thread that dies or hangs is given up: the sessions of its batch end (their answer is
``"lost"``), their slots are free at once, and another thread takes its place after one step of
silence. When that step fails too, the scheduler has failed and nobody is served any more.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from loguru import logger

from fast_vc_service.contract import Converter, FloatArray, State, Voice, block_out
from fast_vc_service.engine.batch_runner import BatchRunner, Member, log_ids
from fast_vc_service.engine.batching import Batch, Job, JobQueue, Result, VoiceChange
from fast_vc_service.engine.capacity import CapacityError
from fast_vc_service.engine.device_errors import DeviceLostError, is_out_of_memory
from fast_vc_service.engine.learned_capacity import Answer
from fast_vc_service.engine.model_thread import Measured, ModelThread
from fast_vc_service.engine.model_threads import ModelThreads
from fast_vc_service.engine.posting import Post, answer_to, post_to
from fast_vc_service.engine.supervision import OnRestart, ignore_restart

Answered = TypeVar("Answered")

SMOOTHED_STEPS = 20
"""Steps over which the expected step time is averaged."""


@dataclass(slots=True)
class _Place:
    """A session's place: who gets its results, and its state once that is made."""

    post: Post
    log_id: str
    state: State | None = None


class Scheduler:
    """Runs one converter for many sessions.

    Args:
        converter: Shared by all threads; states are never shared.
        threads: Model threads.
        max_batch: Most sessions a step.
        gather_s: Longest that a ready block waits for others to share its step.
        on_step: Called from a model thread after each step with (wall seconds, batch size).
        on_answer: Told by the sessions how each of their live blocks was answered.
        on_restart: Told of every model thread that is replaced.
        hangs_for_good: Whether a call that hangs keeps its device, so that no other thread helps.
        clock: Monotonic seconds.

    Attributes:
        failed: Whether a model thread could not be replaced.
        on_answer: As given.
    """

    def __init__(
        self,
        converter: Converter,
        *,
        threads: int,
        max_batch: int,
        gather_s: float = 0.0,
        on_step: Callable[[float, int], None] = lambda _seconds, _batch: None,
        on_answer: Callable[[Answer], None] = lambda _answer: None,
        on_restart: OnRestart = ignore_restart,
        hangs_for_good: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.converter = converter
        self.failed = False
        self.on_answer = on_answer
        self._runner = BatchRunner(
            converter, clock, prove_device=self._prove, on_out_of_memory=self._lower_batch
        )
        self._on_step = on_step
        self._clock = clock
        self._queue = JobQueue(max_batch, gather_s=gather_s, workers=threads)
        self._places: dict[int, _Place] = {}
        self._numbers = itertools.count(1)
        self._wake = threading.Condition(threading.Lock())
        self._making_state = threading.Lock()
        self._calls: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._threads = ModelThreads(threads, self._work, on_restart, hangs_for_good=hangs_for_good)

    @property
    def live(self) -> int:
        """Slots that are taken."""
        return len(self._places)

    @property
    def max_batch(self) -> int:
        """Most sessions a step at present."""
        return self._queue.max_batch

    @max_batch.setter
    def max_batch(self, sessions: int) -> None:
        with self._wake:
            self._queue.max_batch = sessions

    def _lower_batch(self, sessions: int) -> None:
        if sessions < self.max_batch:
            logger.warning("out of memory: a step has at most {} sessions from now on", sessions)
            self.max_batch = sessions

    def start(self) -> None:
        """Start the model threads; those that run already do so."""
        self._threads.start()

    def judge_by(self, measured: Measured) -> None:
        """Judge calls of the converter by ``measured`` from now on; before, none has hung."""
        self._threads.measured = measured

    def stop(self, seconds: float = 2.0) -> bool:
        """Stop the model threads after the steps that are running; waiting work is dropped.

        Args:
            seconds: How long to wait for them.

        Returns:
            Whether all have ended.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        return self._threads.join(seconds)

    def reserve(self, *, post: Post, log_id: str = "-") -> Slot:
        """Take a place for a new session; how many there may be is the engine's decision.

        Args:
            post: Hands a callable over to the thread that owns the session.
            log_id: What log lines about it carry.
        """
        with self._wake:
            slot_id = next(self._numbers)
            self._places[slot_id] = _Place(post, log_id)
        return Slot(self, slot_id)

    def in_model_thread(self, work: Callable[[], Answered]) -> Answered:
        """Run ``work`` in a model thread, between two batches, and return what it returns.

        Raises:
            RuntimeError: The threads have stopped or failed meanwhile.
        """
        call: Future[Answered] = Future()

        def run() -> None:
            try:
                call.set_result(work())
            except BaseException as error:
                call.set_exception(error)

        with self._wake:
            self._calls.append(run)
            self._wake.notify_all()
        while not call.done():
            wait([call], 1.0)
            if (self._stopping or self.failed) and not call.done():
                raise RuntimeError("the model threads have stopped")
        return call.result()

    def make_state(
        self,
        slot_id: int,
        voice: Voice,
        pitch_shift: float,
        seed: int,
        source_f0_hz: float | None = None,
    ) -> None:
        """Make the state of a session; nothing happens when its slot is closed by then.

        Raises:
            CapacityError: Its device has no memory for it.
        """
        try:
            state = self._new_state(voice, pitch_shift, seed, source_f0_hz)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            why = f"the device has no memory for one more; {self.live - 1} sessions are live"
            raise CapacityError("the device has no memory for another session", why) from None
        with self._wake:
            place = self._places.get(slot_id)
            if place is not None:
                place.state = state
                self._queue.open(slot_id)

    def source_f0_hz(self, slot_id: int) -> float | None:
        """Return what a session has learned of its source's register so far."""
        place = self._places.get(slot_id)
        return None if place is None or place.state is None else place.state.source_f0_hz

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

    def close(self, slot_id: int) -> None:
        """Give a slot back; its waiting work is forgotten, its running step goes nowhere."""
        with self._wake:
            self._places.pop(slot_id, None)
            self._queue.close(slot_id)

    def check(self, elapsed_s: float) -> None:
        """Replace the model threads that have died or hung.

        Args:
            elapsed_s: Seconds since the last check, at most; see :meth:`ModelThread.in_call_s`.
        """
        if not self._stopping:
            for thread, why, for_good in self._threads.ailing(elapsed_s):
                self._give_up(thread, why, for_good=for_good)

    # ------------------------------------------------------- in a model thread

    def _work(self, thread: ModelThread) -> None:
        try:
            if self._settle(thread):
                while (work := self._next_work(thread)) is not None:
                    if isinstance(work, Batch):
                        self._run(thread, work)
                    else:
                        work()
        except DeviceLostError as error:
            self._give_up(thread, "has lost its device", error, for_good=True)
        except BaseException as error:
            self._give_up(thread, "has failed", error)

    def _settle(self, thread: ModelThread) -> bool:
        """Wait as long as a new thread has to, then have it prove itself; False: it is not needed.

        Raises:
            Exception: Its step of silence has failed.
        """
        until = self._clock() + thread.wait_s
        with self._wake:
            while not self._stopping and (left_s := until - self._clock()) > 0:
                self._wake.wait(left_s)
        if self._stopping:
            return False
        if thread.proves_itself and self._threads.measured is not None:
            thread.proving = True
            thread.calls()
            self._prove()
            thread.proving = False
            logger.info("a new model thread has made its first step")
        return True

    def _prove(self) -> None:
        """Make a step of silence with the voice of the warm-up, once there was one."""
        measured = self._threads.measured
        if measured is not None:
            state = self._new_state(measured.voice, 0.0, 0)
            self.converter.step(np.zeros((1, self.converter.block), np.float32), [state])

    def _next_work(self, thread: ModelThread) -> Batch | Callable[[], None] | None:
        """Wait for work; None when the scheduler stops or the thread was given up."""
        with self._wake:
            while not self._stopping and not thread.given_up:
                if self._calls:
                    return self._calls.popleft()
                now = self._clock()
                leave_at = self._queue.leave_at()
                if leave_at <= now:
                    batch = self._queue.take(now)
                    if self._queue.leave_at() <= now:
                        self._wake.notify()
                    thread.members = self._members(batch)
                    thread.batch = batch
                    return batch
                self._wake.wait(None if leave_at == math.inf else leave_at - now)
        return None

    def _members(self, batch: Batch) -> Mapping[int, Member]:
        members = {}
        for slot_id in batch.slot_ids:
            place = self._places[slot_id]
            if place.state is not None:  # always: nothing is queued before there is a state
                members[slot_id] = Member(place.state, place.log_id)
        return members

    def _run(self, thread: ModelThread, batch: Batch) -> None:
        ran = self._runner.run(batch, thread.members, thread.calls)
        with self._wake:
            if thread.given_up:
                return
            thread.batch, thread.members = None, {}
            if ran.stepped:
                self._queue.step_s += (ran.step_s - self._queue.step_s) / SMOOTHED_STEPS
            self._queue.finish(batch)
            if self._queue.leave_at() <= self._clock():
                self._wake.notify()
            posts = {job.slot_id: self._post_of(job.slot_id) for job, _ in ran.answers}
        by_post: dict[Post, list[tuple[Job, Result]]] = {}
        for answer in ran.answers:
            post = posts[answer[0].slot_id]
            if post is not None:
                by_post.setdefault(post, []).append(answer)
        for post, pairs in by_post.items():
            post_to(post, functools.partial(self._hand_over, pairs))
        if ran.stepped:
            self._on_step(ran.step_s, ran.stepped)

    def _post_of(self, slot_id: int) -> Post | None:
        place = self._places.get(slot_id)
        return None if place is None else place.post

    def _hand_over(self, pairs: list[tuple[Job, Result]]) -> None:
        for job, result in pairs:
            if job.slot_id in self._places:
                answer_to(job, result)

    def _new_state(
        self, voice: Voice, pitch_shift: float, seed: int, source_f0_hz: float | None = None
    ) -> State:
        with self._making_state:
            return self.converter.new_state(voice, pitch_shift, seed, source_f0_hz)

    # ------------------------------------------------------------- replacement

    def _give_up(
        self,
        thread: ModelThread,
        why: str,
        error: BaseException | None = None,
        *,
        for_good: bool = False,
    ) -> None:
        """End the sessions of a thread's batch, free their slots, and replace the thread.

        Nothing replaces it where that is ``for_good``.
        """
        lost: list[tuple[Post, Job]] = []
        with self._wake:
            if thread.given_up:
                return
            thread.given_up = True
            batch, members = thread.batch, thread.members
            if batch is not None:
                jobs = {job.slot_id: job for job in (*batch.jobs, *batch.late)}
                for slot_id, job in jobs.items():
                    place = self._places.pop(slot_id, None)
                    self._queue.close(slot_id)
                    if place is not None:
                        lost.append((place.post, job))
                self._queue.finish(batch)
            if not self._stopping and (for_good or not self._threads.replace(thread)):
                self.failed = True
            self._wake.notify_all()
        with logger.contextualize(session_id=log_ids(members) or "-"):
            logger.opt(exception=error).error(
                "{} {}; {} sessions end with it", thread.name, why, len(lost)
            )
        for post, job in lost:
            post_to(post, functools.partial(answer_to, job, self._lost(job)))

    def _lost(self, job: Job) -> Result:
        silence = np.zeros(block_out(self.converter), np.float32)
        return Result(silence, 0.0, self._clock() - job.submitted_at, "lost")


class Slot:
    """One session's place in the scheduler; belongs to the thread that reserved it."""

    def __init__(self, scheduler: Scheduler, slot_id: int) -> None:
        self._scheduler = scheduler
        self._slot_id = slot_id

    def make_state(
        self, voice: Voice, pitch_shift: float, seed: int, source_f0_hz: float | None = None
    ) -> None:
        """Make the session's state; may take as long as a block, so not for the event loop.

        Args:
            voice: Target voice.
            pitch_shift: Semitones.
            seed: Noise seed.
            source_f0_hz: Median F0 of the source as far as known.
        """
        self._scheduler.make_state(self._slot_id, voice, pitch_shift, seed, source_f0_hz)

    @property
    def source_f0_hz(self) -> float | None:
        """Median F0 of the source as learned by the blocks that were answered."""
        return self._scheduler.source_f0_hz(self._slot_id)

    def prepare(self, voice: Voice) -> Voice:
        """Return ``voice`` ready for a :class:`VoiceChange`; see :meth:`.Converter.prepare`."""
        return self._scheduler.converter.prepare(voice)

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
        self._scheduler.submit(Job(self._slot_id, block, now, deadline, late_at, change, done))

    def answered(self, answer: Answer) -> None:
        """Tell how a live block was answered: what fits is learned from it."""
        self._scheduler.on_answer(answer)

    def close(self) -> None:
        """Give the slot back; no result comes after this."""
        self._scheduler.close(self._slot_id)
