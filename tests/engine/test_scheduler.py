from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from fast_vc_service.contract import FloatArray
from fast_vc_service.engine.batching import Result, VoiceChange
from fast_vc_service.engine.scheduler import Scheduler, Slot
from stub_converter import StubConverter, stub_voice


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
    slot = scheduler.open(stub_voice(), 0.0, 0, post=owner.post)
    result = convert(owner, slot, BLOCK)
    assert result.silenced is None
    assert result.step_s > 0
    assert np.array_equal(result.samples, BLOCK * np.float32(0.5))


def test_a_closed_slot_no_longer_counts(scheduler: Scheduler, owner: Owner) -> None:
    slots = [scheduler.open(stub_voice(), 0.0, n, post=owner.post) for n in range(4)]
    assert scheduler.live == 4
    slots[0].close()
    slots[0].close()
    assert scheduler.live == 3


def test_waiting_sessions_share_a_step(
    scheduler: Scheduler, converter: StubConverter, owner: Owner
) -> None:
    results: list[Result] = []
    for seed in range(4):
        slot = scheduler.open(stub_voice(), 0.0, seed, post=owner.post)
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
        slot = scheduler.open(stub_voice(), 0.0, seed, post=owner.post)

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
        slot = scheduler.open(stub_voice(), 0.0, 0, post=owner.post)
        slot.submit(BLOCK, done, deadline=0.0, late_at=None)
    scheduler.start()
    owner.pump()
    assert len(taken) == 1


def test_samples_that_are_not_finite_never_leave(
    scheduler: Scheduler, converter: StubConverter, owner: Owner
) -> None:
    scheduler.start()
    slot = scheduler.open(stub_voice(gain=float("nan")), 0.0, 0, post=owner.post)
    result = convert(owner, slot, BLOCK)
    assert result.silenced == "failed"
    assert not result.samples.any()


def test_late_work_is_skipped(scheduler: Scheduler, converter: StubConverter, owner: Owner) -> None:
    scheduler.start()
    slot = scheduler.open(stub_voice(), 0.0, 0, post=owner.post)
    result = convert(owner, slot, BLOCK, late_at=scheduler.now() - 1)
    assert result.silenced == "late"
    assert converter.steps == []
    assert convert(owner, slot, BLOCK, late_at=scheduler.now() + 60).silenced is None


def test_a_voice_change_takes_effect_with_its_block(scheduler: Scheduler, owner: Owner) -> None:
    scheduler.start()
    slot = scheduler.open(stub_voice(), 0.0, 0, post=owner.post)
    louder = VoiceChange(stub_voice("loud", 1.0), 0.0)
    assert convert(owner, slot, BLOCK).samples[-1] == 0.5
    assert convert(owner, slot, BLOCK, change=louder).samples[-1] == 1.0


def test_a_change_that_fails_silences_the_block_and_the_thread_lives_on(
    scheduler: Scheduler, owner: Owner
) -> None:
    scheduler.start()
    slot = scheduler.open(stub_voice(), 0.0, 0, post=owner.post)
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
    slot = scheduler.open(stub_voice(), 0.0, 0, post=owner.post)
    slot.submit(BLOCK, late.append, deadline=0.0, late_at=None)
    slot.submit(BLOCK, late.append, deadline=0.0, late_at=None)
    assert entered.wait(5)
    slot.close()
    successor = scheduler.open(stub_voice(gain=1.0), 0.0, 1, post=owner.post)
    leave.set()
    result = convert(owner, successor, BLOCK)
    assert np.array_equal(result.samples, BLOCK)
    assert late == []


def test_isolation_what_others_do_changes_no_sample(owner: Owner) -> None:
    def session_output(others: int) -> FloatArray:
        scheduler = Scheduler(StubConverter(), threads=2, max_batch=3)
        scheduler.start()
        slot = scheduler.open(stub_voice(), 0.0, 7, post=owner.post)
        rest = [
            scheduler.open(stub_voice(gain=1.0), 0.0, n, post=owner.post) for n in range(others)
        ]
        blocks = []
        for index in range(6):
            for other in rest:
                other.submit(BLOCK, lambda _result: None, deadline=0.0, late_at=None)
            blocks.append(convert(owner, slot, BLOCK * np.float32(index / 6)).samples)
        scheduler.stop()
        return np.concatenate(blocks)

    assert np.array_equal(session_output(0), session_output(5))
