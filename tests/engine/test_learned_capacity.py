"""What is learned of live sessions, on a machine whose time is only counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from simulation import job

from fast_vc_service.contract import Voice
from fast_vc_service.engine import placement as placement_module
from fast_vc_service.engine.batching import Batch, Job, JobQueue
from fast_vc_service.engine.best_capacity import BestCapacity
from fast_vc_service.engine.build import Engine
from fast_vc_service.engine.capacity import Capacity
from fast_vc_service.engine.learned_capacity import RAISE_S, Answer, LearnedCapacity
from fast_vc_service.engine.placement import Lane, Placement
from fast_vc_service.engine.scheduler import Scheduler
from stub_converter import StubConverter, stub_voice

BLOCK_S = 0.2
TICK_S = 0.002


def measured(sessions: int, batch: int, step_s: Callable[[int], float]) -> Capacity:
    """On a machine that was five times as fast then."""
    lone_s, batch_s = step_s(1) / 5, step_s(batch) / 5
    return Capacity(sessions, batch_s, batch, stream_s=1e-4, block_s=BLOCK_S, lone_s=lone_s)


@dataclass
class Machine:
    """A model thread, and sessions that come as they are admitted and stay.

    Attributes:
        capacity: Learns of them; its clock is this machine's.
        step_s: Seconds of a step over so many sessions.
        max_batch: Most sessions a step.
    """

    sessions: int
    step_s: Callable[[int], float]
    max_batch: int = 1
    now: float = 0.0
    live: int = 0
    blocks: int = 0
    late: int = 0
    running: tuple[float, float, Batch] | None = None
    answered_at: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.queue = JobQueue(self.max_batch)
        self.capacity = LearnedCapacity(
            measured(self.sessions, self.max_batch, self.step_s),
            threads=1,
            max_batch=self.max_batch,
            clock=lambda: self.now,
        )
        self.phases = np.random.default_rng(0).uniform(0, BLOCK_S, 1000)
        self.next_at: list[float] = []

    def run(self, seconds: float, *, joins_every_s: float = np.inf) -> None:
        """Let time pass; somebody who wants in comes every so often, and is let in or not."""
        until, joins_at = self.now + seconds, self.now
        while self.now < until:
            if self.now >= joins_at:
                joins_at += joins_every_s
                if self.live < self.capacity.sessions:
                    self.join()
            self._tick()
            self.now += TICK_S

    def join(self) -> None:
        self.queue.open(self.live)
        self.next_at.append(self.now + self.phases[self.live])
        self.live += 1

    def _tick(self) -> None:
        for slot, at in enumerate(self.next_at):
            if at <= self.now:
                self.next_at[slot] += BLOCK_S
                late_at = at + 2 * BLOCK_S
                self.queue.push(job(slot, at, deadline=at + BLOCK_S, late_at=late_at))
        if self.running is not None and self.running[0] <= self.now:
            end, start, batch = self.running
            self.running = None
            self.queue.finish(batch)
            for each in batch.late:
                self._answer(each, start, 0.0, 0)
            for each in batch.jobs:
                self._answer(each, end, end - start, len(batch.jobs))
        if self.running is None and self.queue.leave_at() <= self.now:
            batch = self.queue.take(self.now)
            step_s = self.step_s(len(batch.jobs)) if batch.jobs else 0.0
            self.running = (self.now + step_s, self.now, batch)

    def _answer(self, block: Job, at: float, step_s: float, stepped: int) -> None:
        self.blocks += 1
        self.late += not stepped
        turn_at = max(block.submitted_at, self.answered_at.get(block.slot_id, 0.0))
        self.answered_at[block.slot_id] = at
        answer = Answer(at - turn_at, step_s, stepped, late=not stepped)
        self.capacity.observe(answer, self.live)


def test_a_limit_that_was_measured_on_a_busy_machine_rises_by_one_every_ten_seconds() -> None:
    machine = Machine(1, lambda _batch: 0.01)
    machine.run(12 * RAISE_S, joins_every_s=1.0)
    assert 8 <= machine.capacity.limit <= 13
    assert machine.late == 0


def test_it_does_not_rise_while_few_of_the_places_are_taken() -> None:
    machine = Machine(10, lambda _batch: 0.01)
    machine.join()
    machine.run(5 * RAISE_S)
    assert machine.capacity.limit == 10


@pytest.mark.parametrize(
    ("max_batch", "step_s", "fit"),
    [
        (1, lambda _batch: 0.024, {6, 7}),
        (8, lambda batch: 0.024 * batch, {6, 7}),
        (16, lambda batch: 0.05 + 0.01 * batch, {10, 11, 12}),
    ],
)
def test_sessions_are_refused_before_one_percent_is_silenced(
    max_batch: int, step_s: Callable[[int], float], fit: set[int]
) -> None:
    # Measured on a quiet machine; something else has begun to use it since.
    machine = Machine(40, step_s, max_batch=max_batch)
    machine.run(80, joins_every_s=3.0)
    assert machine.late <= 0.01 * machine.blocks
    assert machine.live in fit


def test_a_single_session_that_is_too_slow_is_known_to_be() -> None:
    machine = Machine(1, lambda _batch: 0.15)
    machine.join()
    machine.run(2 * RAISE_S)
    assert machine.capacity.carries_one
    machine.step_s = lambda _batch: 0.25
    machine.run(2 * RAISE_S)
    assert not machine.capacity.carries_one
    machine.step_s = lambda _batch: 0.05
    machine.run(3 * RAISE_S)
    assert machine.capacity.carries_one


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> tuple[Placement, list[int]]:
    """One device, and how many sessions each measurement of it finds, the next one first."""
    found = [2, 10, 3]

    def measure(_converter: object, _voice: Voice, **more: object) -> Capacity:
        return Capacity(found.pop(0), 0.01, 1, 1e-4, 0.04, lone_s=0.01, probe_s=1.0)

    monkeypatch.setattr(placement_module, "measure", measure)
    converter = StubConverter(noise=0.0)
    lane = Lane("cpu", converter, Scheduler(converter, threads=1, max_batch=8), 1, 8)
    return Placement([lane], None), found


def test_an_idle_machine_that_has_become_quicker_is_measured_again(
    placed: tuple[Placement, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    placement, _ = placed
    placement.warm_up(stub_voice())
    try:
        monkeypatch.setattr(placement_module, "probe", lambda *_arguments: 0.9)
        assert not placement.measure_again(), "as quick as it was"
        monkeypatch.setattr(placement_module, "probe", lambda *_arguments: 0.4)
        slot = placement.reserve(post=lambda _call: None, log_id="-")
        assert not placement.measure_again(), "somebody is live"
        slot.close()
        assert placement.measure_again()
        assert placement.capacity == 10
    finally:
        placement.stop()


def test_what_is_given_up_changes_nothing(
    placed: tuple[Placement, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    placement, _ = placed
    placement.warm_up(stub_voice())
    try:

        def somebody_comes(*_arguments: object) -> float:
            placement.reserve(post=lambda _call: None, log_id="-").close()
            return 0.4

        monkeypatch.setattr(placement_module, "probe", somebody_comes)
        assert not placement.measure_again()
        assert placement.capacity == 2
    finally:
        placement.stop()


def test_less_than_half_of_the_best_is_a_warning(
    placed: tuple[Placement, list[int]], tmp_path: Path
) -> None:
    file = tmp_path / "data" / "capacity.json"
    placement, found = placed
    found[0] = 4
    BestCapacity(file, "nano").note(9)
    BestCapacity(file, "world").note(50)
    engine = Engine("nano", placement, BestCapacity(file, "nano"))
    try:
        engine.warm_up(stub_voice())
        (warning,) = engine.warnings
        assert warning.startswith("4 live sessions fit, and this machine had room for 9")
        found[0] = 5
        engine.warm_up(stub_voice())
        assert engine.warnings == []
    finally:
        placement.stop()


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"a": "b"}'])
def test_a_damaged_file_of_the_best_is_written_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "capacity.json"
    file.write_bytes(content)
    assert BestCapacity(file, "nano").sessions == 0
    BestCapacity(file, "nano").note(3)
    assert BestCapacity(file, "nano").sessions == 3
