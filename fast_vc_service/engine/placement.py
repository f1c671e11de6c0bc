"""Devices side by side: each with its own weights and model threads; sessions go where room is."""

from __future__ import annotations

from collections.abc import Sequence

from fast_vc_service.contract import Converter, Voice
from fast_vc_service.engine.capacity import Capacity, LiveCapacity, measure
from fast_vc_service.engine.model_thread import Measured
from fast_vc_service.engine.posting import Post
from fast_vc_service.engine.scheduler import Scheduler, Slot


class CapacityError(RuntimeError):
    """Every slot is taken."""


class Lane:
    """One device and how many sessions it carries.

    Args:
        device: Its name.
        converter: Lives there.
        scheduler: Runs the converter; its steps are to be told to :meth:`observe`.
        threads: Model threads of the scheduler.
        max_batch: Most sessions a step.
    """

    def __init__(
        self, device: str, converter: Converter, scheduler: Scheduler, threads: int, max_batch: int
    ) -> None:
        self.device = device
        self.converter = converter
        self.scheduler = scheduler
        self._threads = threads
        self._max_batch = max_batch
        self._capacity: LiveCapacity | None = None

    @property
    def sessions(self) -> int:
        """Live sessions that fit at present; 0 before :meth:`warm_up`."""
        return 0 if self._capacity is None else self._capacity.sessions

    @property
    def load(self) -> float:
        """Part of what fits that is taken; above 1 when more is allowed than was measured."""
        return self.scheduler.live / max(1, self.sessions)

    def observe(self, seconds: float, batch: int) -> None:
        """Correct what fits by a live step of ``seconds`` wall time over ``batch`` sessions."""
        if self._capacity is not None:
            self._capacity.observe(seconds, batch)

    def warm_up(self, voice: Voice) -> Capacity:
        """Start the model threads and measure; blocks for seconds."""
        self.scheduler.start()
        capacity = measure(self.converter, voice, threads=self._threads, max_batch=self._max_batch)
        self._capacity = LiveCapacity(capacity)
        self.scheduler.judge_by(
            Measured(voice, capacity.block_s, capacity.step_s, max(1, capacity.batch))
        )
        return capacity


class Placement:
    """Gives every new session a slot on the lane with the smallest load.

    Args:
        lanes: At least one; all with the same geometry.
        max_sessions: Overrides what the lanes carry together, when set.
    """

    def __init__(self, lanes: Sequence[Lane], max_sessions: int | None) -> None:
        self.lanes = tuple(lanes)
        self._max_sessions = max_sessions

    @property
    def live(self) -> int:
        """Open slots."""
        return sum(lane.scheduler.live for lane in self.lanes)

    @property
    def capacity(self) -> int:
        """Live sessions admitted at present; 0 before :meth:`warm_up`."""
        measured = sum(lane.sessions for lane in self.lanes)
        return self._max_sessions or measured if measured else 0

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
            raise CapacityError(f"all {self.capacity} slots are taken")
        lane = min(self.lanes, key=lambda each: each.load)
        return lane.scheduler.reserve(post=post, log_id=log_id)

    def check(self, elapsed_s: float) -> None:
        """Replace model threads that have died or hung; see :meth:`Scheduler.check`."""
        for lane in self.lanes:
            lane.scheduler.check(elapsed_s)

    def warm_up(self, voice: Voice) -> list[Capacity]:
        """Start and measure every lane, one after the other; blocks for seconds."""
        return [lane.warm_up(voice) for lane in self.lanes]

    def stop(self) -> bool:
        """Stop the model threads of all lanes; return whether all have ended."""
        ended = [lane.scheduler.stop() for lane in self.lanes]
        return all(ended)
