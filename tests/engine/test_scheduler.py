from __future__ import annotations

import gc
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from loguru import logger

from fast_vc_service.contract import FloatArray, State, Voice
from fast_vc_service.engine.batching import Result, VoiceChange
from fast_vc_service.engine.model_thread import Measured
from fast_vc_service.engine.scheduler import Scheduler, Slot
from stub_converter import StubConverter, StubState, stub_voice


class Owner:
    """A thread that owns sessions, as an event loop would: callables run when it pumps."""

    def __init__(self) -> None:
        self.inbox: queue.Queue[Callable[[], None]] = queue.Queue()

    def post(self, call: Callable[[], None]) -> None:
        self.inbox.put(call)

    def pump(self, seconds: float = 5.0) -> None:
        self.inbox.get(timeout=seconds)()


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def converter() -> StubConverter:
    return StubConverter(delay=0, noise=0.0)


@pytest.fixture
def scheduler(converter: StubConverter) -> Iterator[Scheduler]:
    scheduler = Scheduler(converter, threads=1, max_batch=8)
    yield scheduler
    scheduler.stop()


def opened(scheduler: Scheduler, owner: Owner, voice: Voice, seed: int) -> Slot:
    slot = scheduler.reserve(post=owner.post, log_id=f"id-{seed}")
    slot.make_state(voice, 0.0, seed)
    return slot


def convert(
    owner: Owner, slot: Slot, block: FloatArray, *, late_at: float | None = None, **more: object
) -> Result:
    results: list[Result] = []
    slot.submit(block, results.append, deadline=0.0, late_at=late_at, **more)  # type: ignore[arg-type]
    while not results:
        owner.pump()
    return results[0]


BLOCK = np.linspace(-1, 1, 640).astype(np.float32)


def test_a_block_comes_back_converted(scheduler: Scheduler, owner: Owner) -> None:
    scheduler.start()
    slot = opened(scheduler, owner, stub_voice(), 0)
    result = convert(owner, slot, BLOCK)
    assert result.silenced is None
    assert result.step_s > 0
    assert np.array_equal(result.samples, BLOCK * np.float32(0.5))


def test_a_closed_slot_no_longer_counts(scheduler: Scheduler, owner: Owner) -> None:
    slots = [opened(scheduler, owner, stub_voice(), n) for n in range(4)]
    assert scheduler.live == 4
    slots[0].close()
    slots[0].close()
    assert scheduler.live == 3


def test_waiting_sessions_share_a_step(
    scheduler: Scheduler, converter: StubConverter, owner: Owner
) -> None:
    results: list[Result] = []
    for seed in range(4):
        slot = opened(scheduler, owner, stub_voice(), seed)
        slot.submit(BLOCK, results.append, deadline=0.0, late_at=None)
    scheduler.start()
    while len(results) < 4:
        owner.pump()
    assert converter.steps == [4]


def test_a_failing_session_is_silenced_and_the_others_do_not_notice(
    scheduler: Scheduler, converter: StubConverter, owner: Owner
) -> None:
    converter.fail_on = {2}
    results: dict[int, Result] = {}
    for seed in range(4):
        slot = opened(scheduler, owner, stub_voice(), seed)

        def keep(result: Result, seed: int = seed) -> None:
            results[seed] = result

        slot.submit(BLOCK, keep, deadline=0.0, late_at=None)
    scheduler.start()
    while len(results) < 4:
        owner.pump()
    assert converter.steps == [4, 1, 1, 1, 1]
    assert results[2].silenced == "failed"
    assert not results[2].samples.any()
    for seed in (0, 1, 3):
        assert results[seed].silenced is None
        assert np.array_equal(results[seed].samples, BLOCK * np.float32(0.5))


def test_a_session_that_cannot_take_its_result_costs_the_others_nothing(
    scheduler: Scheduler, owner: Owner
) -> None:
    taken: list[Result] = []

    def refuse(_result: Result) -> None:
        raise RuntimeError("no")

    for done in (refuse, taken.append):
        slot = opened(scheduler, owner, stub_voice(), 0)
        slot.submit(BLOCK, done, deadline=0.0, late_at=None)
    scheduler.start()
    owner.pump()
    assert len(taken) == 1


def test_samples_that_are_not_finite_never_leave(
    scheduler: Scheduler, converter: StubConverter, owner: Owner
) -> None:
    scheduler.start()
    slot = opened(scheduler, owner, stub_voice(gain=float("nan")), 0)
    result = convert(owner, slot, BLOCK)
    assert result.silenced == "failed"
    assert not result.samples.any()


def test_late_work_is_skipped(scheduler: Scheduler, converter: StubConverter, owner: Owner) -> None:
    scheduler.start()
    slot = opened(scheduler, owner, stub_voice(), 0)
    result = convert(owner, slot, BLOCK, late_at=scheduler.now() - 1)
    assert result.silenced == "late"
    assert converter.steps == []
    assert convert(owner, slot, BLOCK, late_at=scheduler.now() + 60).silenced is None


def test_a_voice_change_takes_effect_with_its_block(scheduler: Scheduler, owner: Owner) -> None:
    scheduler.start()
    slot = opened(scheduler, owner, stub_voice(), 0)
    louder = VoiceChange(stub_voice("loud", 1.0), 0.0)
    assert convert(owner, slot, BLOCK).samples[-1] == 0.5
    assert convert(owner, slot, BLOCK, change=louder).samples[-1] == 1.0


def test_a_change_that_fails_silences_the_block_and_the_thread_lives_on(
    scheduler: Scheduler, owner: Owner
) -> None:
    scheduler.start()
    slot = opened(scheduler, owner, stub_voice(), 0)
    broken = VoiceChange(stub_voice("broken"), 0.0)
    object.__setattr__(broken.voice, "features", {})
    assert convert(owner, slot, BLOCK, change=broken).silenced == "failed"
    assert convert(owner, slot, BLOCK).silenced is None


def test_nothing_reaches_a_closed_slot_or_its_successor(
    scheduler: Scheduler, converter: StubConverter, owner: Owner
) -> None:
    entered, leave = threading.Event(), threading.Event()
    step = converter.step

    def slow_step(blocks: FloatArray, states: object) -> FloatArray:
        entered.set()
        leave.wait(5)
        return step(blocks, states)  # type: ignore[arg-type]

    converter.step = slow_step  # type: ignore[method-assign,assignment]
    scheduler.start()
    late: list[Result] = []
    slot = opened(scheduler, owner, stub_voice(), 0)
    slot.submit(BLOCK, late.append, deadline=0.0, late_at=None)
    slot.submit(BLOCK, late.append, deadline=0.0, late_at=None)
    assert entered.wait(5)
    slot.close()
    successor = opened(scheduler, owner, stub_voice(gain=1.0), 1)
    leave.set()
    result = convert(owner, successor, BLOCK)
    assert np.array_equal(result.samples, BLOCK)
    assert late == []


def test_isolation_what_others_do_changes_no_sample(owner: Owner) -> None:
    def session_output(others: int) -> FloatArray:
        scheduler = Scheduler(StubConverter(), threads=2, max_batch=3)
        scheduler.start()
        slot = opened(scheduler, owner, stub_voice(), 7)
        rest = [opened(scheduler, owner, stub_voice(gain=1.0), n) for n in range(others)]
        blocks = []
        for index in range(6):
            for other in rest:
                other.submit(BLOCK, lambda _result: None, deadline=0.0, late_at=None)
            blocks.append(convert(owner, slot, BLOCK * np.float32(index / 6)).samples)
        scheduler.stop()
        return np.concatenate(blocks)

    assert np.array_equal(session_output(0), session_output(5))


# --------------------------------------------------------- threads that fail


class Stuck:
    """Has the steps of one seed wait for a sign."""

    def __init__(self, converter: StubConverter, seed: int) -> None:
        self.entered, self.leave, self.left = (threading.Event() for _ in range(3))
        self._step, self._seed = converter.step, seed
        converter.step = self.step  # type: ignore[method-assign]

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        if any(isinstance(state, StubState) and state.seed == self._seed for state in states):
            self.entered.set()
            assert self.leave.wait(20)
            self.left.set()
        return self._step(blocks, states)


MEASURED = Measured(stub_voice(), block_s=0.04, step_s=0.01, batch=8)


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, format="[{extra[session_id]}] {message}\n{exception}")
    yield lines
    logger.remove(sink)


def submit(slot: Slot, results: list[Result]) -> None:
    slot.submit(BLOCK, results.append, deadline=0.0, late_at=None)


def test_a_thread_that_ends_takes_its_batch_along_and_is_replaced(
    scheduler: Scheduler, converter: StubConverter, owner: Owner, log: list[str]
) -> None:
    converter.end_on = {1, 2}
    heard: list[list[Result]] = [[], [], []]
    slots = [opened(scheduler, owner, stub_voice(), seed) for seed in range(3)]
    for slot, results in list(zip(slots, heard, strict=True))[1:]:
        submit(slot, results)
    scheduler.judge_by(MEASURED)
    scheduler.start()
    while not (heard[1] and heard[2]):
        owner.pump()
    assert [results[0].silenced for results in heard[1:]] == ["lost", "lost"]
    assert scheduler.live == 1
    result = convert(owner, slots[0], BLOCK)
    assert result.silenced is None
    assert np.array_equal(result.samples, BLOCK * np.float32(0.5))
    assert not scheduler.failed
    assert [line for line in log if "SystemExit" in line and line.startswith("[id-1,id-2] model-0")]


def test_a_thread_that_hangs_is_given_up_and_what_it_brings_later_is_thrown_away(
    scheduler: Scheduler, converter: StubConverter, owner: Owner, log: list[str]
) -> None:
    stuck = Stuck(converter, seed=1)
    scheduler.judge_by(MEASURED)
    scheduler.start()
    lost: list[Result] = []
    slot = opened(scheduler, owner, stub_voice(), 1)
    place = scheduler._places[slot._slot_id]
    state = weakref.ref(place.state)  # type: ignore[arg-type]
    del place
    submit(slot, lost)
    submit(slot, lost)
    assert stuck.entered.wait(5)
    scheduler.check(9.0)
    scheduler.check(9.0)
    assert (lost, scheduler.live) == ([], 1), "nine seconds are not too long"
    scheduler.check(9.0)
    while not lost:
        owner.pump()
    assert ([each.silenced for each in lost], scheduler.live) == (["lost"], 0)
    assert any(line.startswith("[id-1] model-0 has been in one call") for line in log)

    successor = opened(scheduler, owner, stub_voice(gain=1.0), 0)
    assert np.array_equal(convert(owner, successor, BLOCK).samples, BLOCK)
    # Its state, a row of shared memory for some families, is nobody else's while it may be written.
    gc.collect()
    assert state() is not None
    stuck.leave.set()
    assert stuck.left.wait(5)
    while state() is not None:
        gc.collect()
    assert np.array_equal(convert(owner, successor, BLOCK).samples, BLOCK)
    assert owner.inbox.empty()
    assert len(lost) == 1
    scheduler.check(9.0)
    assert not scheduler.failed


def test_a_call_is_judged_by_seconds_blocks_and_measured_steps() -> None:
    assert Measured(stub_voice(), 0.04, 0.01, 8).longest_call_s(1) == 10.0
    assert Measured(stub_voice(), 2.0, 0.01, 8).longest_call_s(1) == 40.0
    assert Measured(stub_voice(), 0.04, 4.0, 2).longest_call_s(2) == 20.0
    assert Measured(stub_voice(), 0.04, 4.0, 2).longest_call_s(6) == 60.0


def test_before_the_warm_up_no_thread_has_hung(
    scheduler: Scheduler, converter: StubConverter, owner: Owner
) -> None:
    stuck = Stuck(converter, seed=1)
    scheduler.start()
    heard: list[Result] = []
    submit(opened(scheduler, owner, stub_voice(), 1), heard)
    assert stuck.entered.wait(5)
    for _ in range(5):
        scheduler.check(100.0)
    stuck.leave.set()
    owner.pump()
    assert [each.silenced for each in heard] == [None]


@pytest.mark.parametrize("proof", ["raises", "hangs"])
def test_a_thread_that_cannot_be_replaced_is_the_failure_of_the_scheduler(
    scheduler: Scheduler, converter: StubConverter, owner: Owner, proof: str
) -> None:
    converter.end_on = {1}
    scheduler.judge_by(MEASURED)
    scheduler.start()
    # The step of silence is made with seed 0.
    stuck = Stuck(converter, seed=0)
    if proof == "raises":
        converter.fail_on = {0}
        stuck.leave.set()
    lost: list[Result] = []
    submit(opened(scheduler, owner, stub_voice(), 1), lost)
    while not lost:
        owner.pump()
    assert stuck.entered.wait(5)
    deadline = time.monotonic() + 10
    while not scheduler.failed:
        scheduler.check(4.0)
        assert time.monotonic() < deadline
    stuck.leave.set()


def test_stopping_does_not_wait_for_a_thread_that_hangs(
    scheduler: Scheduler, converter: StubConverter, owner: Owner
) -> None:
    stuck = Stuck(converter, seed=1)
    scheduler.start()
    submit(opened(scheduler, owner, stub_voice(), 1), [])
    assert stuck.entered.wait(5)
    assert not scheduler.stop(0.05)
    stuck.leave.set()
    assert scheduler.stop(10.0)


def test_a_slot_closed_before_its_state_is_made_keeps_nothing(
    scheduler: Scheduler, owner: Owner
) -> None:
    slot = scheduler.reserve(post=owner.post, log_id="-")
    assert scheduler.live == 1
    slot.close()
    slot.make_state(stub_voice(), 0.0, 0)
    assert scheduler.live == 0
    slot.submit(BLOCK, lambda _result: None, deadline=0.0, late_at=None)
    scheduler.start()
    assert convert(owner, opened(scheduler, owner, stub_voice(), 1), BLOCK).silenced is None
