"""Devices side by side: each with its own weights and model threads; sessions go where room is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from fast_vc_service.contract import Converter, RecordsSteps, Voice
from fast_vc_service.engine.capacity import Capacity, CapacityError, GivenUpError, measure, probe
from fast_vc_service.engine.device_memory import SessionMemory, memory_of, session_memory
from fast_vc_service.engine.learned_capacity import Answer, LearnedCapacity
from fast_vc_service.engine.model_thread import Measured
from fast_vc_service.engine.posting import Post
from fast_vc_service.engine.scheduler import Scheduler, Slot

Answered = TypeVar("Answered")

STEADY = (0.7, 1.4)
"""How a probe may differ from the one of the last measurement before there is another."""


class Lane:
    """One device and how many sessions it carries.

    Args:
        device: Its name.
        converter: Lives there.
        scheduler: Runs the converter; its answers are to be told to :meth:`observe`.
        threads: Model threads of the scheduler.
        max_batch: Most sessions a step.

    Attributes:
        learned: How many sessions fit by time; None before :meth:`warm_up`.
        memory: How many fit into the device's memory; None where that is the machine's.
    """

    def __init__(
        self, device: str, converter: Converter, scheduler: Scheduler, threads: int, max_batch: int
    ) -> None:
        self.device = device
        self.converter = converter
        self.scheduler = scheduler
        self._threads = threads
        self._max_batch = max_batch
        self._voice: Voice | None = None
        self.learned: LearnedCapacity | None = None
        self.memory: SessionMemory | None = None

    @property
    def sessions(self) -> int:
        """Live sessions that fit at present; 0 before :meth:`warm_up`."""
        return 0 if self.learned is None else self._within_memory(self.learned.sessions)

    @property
    def limit(self) -> int:
        """Live sessions that fit by what was measured and learned; 0 before :meth:`warm_up`."""
        return 0 if self.learned is None else self._within_memory(self.learned.limit)

    def _within_memory(self, sessions: int) -> int:
        return sessions if self.memory is None else min(sessions, max(1, self.memory.sessions))

    @property
    def load(self) -> float:
        """Part of what fits that is taken; above 1 when more is allowed than was measured."""
        return self.scheduler.live / max(1, self.sessions)

    def observe(self, answer: Answer) -> None:
        """Correct what fits by how a live block was answered."""
        if self.learned is not None:
            self.learned.observe(answer, self.scheduler.live)

    def warm_up(self, voice: Voice) -> Capacity:
        """Start the model threads and measure; blocks for seconds."""
        self.scheduler.start()
        self._voice = voice
        if isinstance(self.converter, RecordsSteps):
            self._record(self.converter, voice)
        capacity = self._measured(voice, lambda: False)
        self._begin_with(capacity)
        self.memory = session_memory(self.converter, voice, self.device)
        self.scheduler.judge_by(
            Measured(voice, capacity.block_s, capacity.step_s, max(1, capacity.batch))
        )
        return capacity

    def measure_again(self, give_up: Callable[[], bool]) -> bool:
        """Measure while nobody is live, if a probe or what was learned says that it has changed.

        Args:
            give_up: Whether the machine is wanted for something better by now.

        Returns:
            Whether it was measured; if not, all stays as it was.
        """
        learned, voice = self.learned, self._voice
        if learned is None or voice is None or give_up():
            return False
        last = learned.measured
        changed = probe(self.converter, voice) / last.probe_s if last.probe_s else 1.0
        as_before = self.scheduler.max_batch >= (last.memory_batch or self._max_batch)
        steady = STEADY[0] <= changed <= STEADY[1]
        if steady and as_before and learned.limit >= last.sessions:
            return False
        try:
            capacity = self._measured(voice, give_up)
        except GivenUpError:
            return False
        if give_up():
            return False
        self._begin_with(capacity)
        return True

    def _record(self, converter: RecordsSteps, voice: Voice) -> None:
        record = partial(converter.record, voice, self._max_batch)
        # What is recorded is that thread's; larger batches would run as they are, and slower.
        self._max_batch = self.scheduler.in_model_thread(record) or self._max_batch

    def _measured(self, voice: Voice, give_up: Callable[[], bool]) -> Capacity:
        run = partial(
            measure,
            self.converter,
            voice,
            threads=self._threads,
            max_batch=self._max_batch,
            give_up=give_up,
        )
        # A CUDA device has one thread, whose libraries keep what they prepare by thread.
        return self.scheduler.in_model_thread(run) if self.device.startswith("cuda") else run()

    def _begin_with(self, capacity: Capacity) -> None:
        self.scheduler.max_batch = capacity.memory_batch or self._max_batch
        self.learned = LearnedCapacity(
            capacity, threads=self._threads, max_batch=self.scheduler.max_batch
        )


class Placement:
    """Gives every new session a slot on the lane with the smallest load.

    Args:
        lanes: At least one; all with the same geometry.
        max_sessions: Overrides what the lanes carry together, when set.
    """

    def __init__(self, lanes: Sequence[Lane], max_sessions: int | None) -> None:
        self.lanes = tuple(lanes)
        self._max_sessions = max_sessions
        self._reserved = 0

    @property
    def live(self) -> int:
        """Open slots."""
        return sum(lane.scheduler.live for lane in self.lanes)

    @property
    def capacity(self) -> int:
        """Live sessions admitted at present; 0 before :meth:`warm_up`."""
        fit = sum(lane.sessions for lane in self.lanes)
        return self._max_sessions or max(1, fit - self._beyond_loop) if fit else 0

    @property
    def limit(self) -> int:
        """Live sessions that fit by what was measured and learned; 0 before :meth:`warm_up`."""
        fit = sum(lane.limit for lane in self.lanes)
        return max(1, fit - self._beyond_loop) if fit else 0

    @property
    def _beyond_loop(self) -> int:
        """Sessions that the devices carry together and the one event loop does not."""
        measured = [lane.learned.measured for lane in self.lanes if lane.learned is not None]
        if not measured:
            return 0
        fit = sum(capacity.sessions for capacity in measured)
        return max(0, fit - max(capacity.by_loop for capacity in measured))

    @property
    def too_slow(self) -> Lane | None:
        """A lane that cannot carry even one session, if there is one."""
        for lane in self.lanes:
            if lane.learned is not None and not lane.learned.carries_one:
                return lane
        return None

    @property
    def reserved(self) -> int:
        """Slots that were ever taken."""
        return self._reserved

    @property
    def failed(self) -> bool:
        """Whether a device has lost its model threads for good."""
        return any(lane.scheduler.failed for lane in self.lanes)

    def reserve(self, *, post: Post, log_id: str) -> Slot:
        """Take a slot for a new session; arguments as of :meth:`Scheduler.reserve`.

        Raises:
            CapacityError: All slots are taken.
        """
        if self.live >= self.capacity:
            raise CapacityError(f"all {self.capacity} slots are taken", self._why_full())
        self._reserved += 1
        lane = min(self.lanes, key=lambda each: each.load)
        return lane.scheduler.reserve(post=post, log_id=log_id)

    def _why_full(self) -> str:
        if self._max_sessions:
            return f"max_sessions is {self._max_sessions}"
        if any(lane.learned is not None and lane.learned.crowded for lane in self.lanes):
            return f"the machine is busy: {self.live} live sessions are all it carries just now"
        if any(lane.memory and lane.memory.sessions <= lane.sessions for lane in self.lanes):
            return f"{self.limit} live sessions fit into the memory of the device"
        measured = sum(lane.learned.measured.sessions for lane in self.lanes if lane.learned)
        if self.limit < measured:
            return f"{self.limit} fit at present; {measured} did when nothing else was running"
        return f"{self.limit} live sessions fit on this machine"

    def check(self, elapsed_s: float) -> None:
        """Replace model threads that have died or hung; see :meth:`Scheduler.check`."""
        for lane in self.lanes:
            lane.scheduler.check(elapsed_s)

    def warm_up(self, voice: Voice) -> list[Capacity]:
        """Start and measure every lane; blocks for seconds."""
        return self._at_once(lambda lane: lane.warm_up(voice))

    def measure_again(self) -> bool:
        """Measure every lane that may have changed; given up as soon as somebody takes a slot.

        Blocks for up to seconds; returns whether anything was measured.
        """
        before = self._reserved

        def give_up() -> bool:
            return self.live > 0 or self._reserved != before

        return any(self._at_once(lambda lane: lane.measure_again(give_up)))

    def _at_once(self, work: Callable[[Lane], Answered]) -> list[Answered]:
        """Do the same with every lane at a time: they share the interpreter, then as later on."""
        with ThreadPoolExecutor(len(self.lanes), "lane") as pool:
            return list(pool.map(work, self.lanes))

    def device_memory(self) -> Mapping[str, tuple[int, int, int]]:
        """By CUDA device that is warm: bytes in use, bytes there are, bytes a session takes."""
        found = {}
        for lane in self.lanes:
            now = None if lane.memory is None else memory_of(lane.device)
            if lane.memory is not None and now is not None:
                found[lane.device] = (now.total - now.free, now.total, lane.memory.session_bytes)
        return found

    def stop(self) -> bool:
        """Stop the model threads of all lanes; return whether all have ended."""
        ended = [lane.scheduler.stop() for lane in self.lanes]
        return all(ended)
