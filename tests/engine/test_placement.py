from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from fast_vc_service.contract import Voice
from fast_vc_service.engine import placement as placement_module
from fast_vc_service.engine.batching import Result
from fast_vc_service.engine.build import build_engine
from fast_vc_service.engine.capacity import Capacity
from fast_vc_service.engine.learned_capacity import FEWEST_ANSWERS, LOWER_S, Answer
from fast_vc_service.engine.placement import CapacityError, Lane, Placement
from fast_vc_service.engine.scheduler import Scheduler
from stub_converter import StubConverter, stub_voice

STREAM_S = {"s": 1e-4}
"""Seconds that the event loop needs a block, as measured in the tests."""


def lane(device: str) -> Lane:
    converter = StubConverter(noise=0.0, delay=0)
    return Lane(device, converter, Scheduler(converter, threads=1, max_batch=8), 1, 8)


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> list[Lane]:
    """Two warm devices; the first carries four sessions, the second two."""
    made = [lane("one"), lane("two")]

    def measured(converter: object, *_args: object, **_more: object) -> Capacity:
        sessions = 4 if converter is made[0].converter else 2
        return Capacity(sessions, step_s=0.01, batch=1, stream_s=STREAM_S["s"], block_s=0.04)

    monkeypatch.setattr(placement_module, "measure", measured)
    return made


@pytest.fixture
def placed(lanes: list[Lane]) -> Iterator[Placement]:
    placement = Placement(lanes, None)
    assert placement.capacity == 0
    placement.warm_up(stub_voice())
    yield placement
    placement.stop()


def nobody(_call: Callable[[], None]) -> None:
    """Takes no result."""


def test_sessions_go_where_the_smallest_part_is_taken(placed: Placement, lanes: list[Lane]) -> None:
    taken = []
    for _ in range(6):
        before = [each.scheduler.live for each in lanes]
        placed.reserve(post=nobody, log_id="-")
        after = [each.scheduler.live for each in lanes]
        taken.append([now - then for now, then in zip(after, before, strict=True)].index(1))
    assert taken == [0, 1, 0, 0, 1, 0]
    assert [each.load for each in lanes] == [1.0, 1.0]


def test_what_is_full_takes_nobody_until_one_leaves(placed: Placement) -> None:
    slots = [placed.reserve(post=nobody, log_id="-") for _ in range(placed.capacity)]
    with pytest.raises(CapacityError, match="all 6 slots are taken"):
        placed.reserve(post=nobody, log_id="-")
    slots[3].close()
    placed.reserve(post=nobody, log_id="-")


def test_a_device_that_gets_slower_takes_fewer(placed: Placement, lanes: list[Lane]) -> None:
    learned = lanes[0].learned
    assert learned is not None
    learned._short.since -= 2 * LOWER_S
    for _ in range(FEWEST_ANSWERS):
        lanes[0].observe(Answer(turnaround_s=0.2, step_s=0.01, stepped=1, late=False))
    assert learned.limit == 3
    assert (lanes[0].sessions, lanes[1].sessions) == (1, 2), "nobody new while it is crowded"
    assert placed.capacity == 3
    for _ in range(3):
        placed.reserve(post=nobody, log_id="-")
    with pytest.raises(CapacityError) as full:
        placed.reserve(post=nobody, log_id="-")
    assert "the machine is busy: 3 live sessions are all" in full.value.why


def test_one_event_loop_carries_the_sessions_of_all_devices(
    lanes: list[Lane], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STREAM_S, "s", 0.6 * 0.04 / 5)
    placement = Placement(lanes, None)
    placement.warm_up(stub_voice())
    assert [each.sessions for each in lanes] == [4, 2]
    assert placement.capacity == placement.limit == 5
    placement.stop()


def test_devices_are_measured_at_the_same_time(
    lanes: list[Lane], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2)

    def measured(*_args: object, **_more: object) -> Capacity:
        together.wait(timeout=60)
        return Capacity(1, step_s=0.01, batch=1, stream_s=1e-4, block_s=0.04)

    monkeypatch.setattr(placement_module, "measure", measured)
    placement = Placement(lanes, None)
    placement.warm_up(stub_voice())
    placement.stop()


def test_max_sessions_overrides_what_was_measured(lanes: list[Lane]) -> None:
    placement = Placement(lanes, 9)
    assert placement.capacity == 0, "nothing fits before the warm-up"
    placement.warm_up(stub_voice())
    assert placement.capacity == 9
    for _ in range(9):
        placement.reserve(post=nobody, log_id="-")
    assert [each.scheduler.live for each in lanes] == [6, 3]
    placement.stop()


def test_every_device_converts() -> None:
    engine = build_engine(
        "passthrough",
        device="cpu,cpu",
        latency_ms=None,
        on_step=lambda _seconds, _batch: None,
    )
    voice = Voice("alto", "passthrough")
    measured = engine.warm_up(voice)
    fit = sum(each.sessions for each in measured)
    assert engine.capacity == min(fit, max(each.by_loop for each in measured))
    inbox: queue.Queue[Callable[[], None]] = queue.Queue()
    slots = [engine.reserve(post=inbox.put, log_id="-") for _ in range(2)]
    for slot in slots:
        slot.make_state(voice, 0.0, 0)
    assert [each.scheduler.live for each in engine.placement.lanes] == [1, 1]
    heard: list[Result] = []
    block = np.linspace(-1, 1, engine.converter.block).astype(np.float32)
    for _ in range(2):
        for slot in slots:
            slot.submit(block, heard.append, deadline=None, late_at=None)
    while len(heard) < 4:
        inbox.get(timeout=10)()
    assert sum(np.array_equal(each.samples, block) for each in heard) == 2
    engine.stop()
