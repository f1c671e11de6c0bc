"""What becomes of sessions when a device runs out of memory, fails, or never answers."""

from __future__ import annotations

import gc
import queue
import threading
import weakref
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from fast_vc_service.contract import FloatArray, State
from fast_vc_service.engine import capacity as capacity_module
from fast_vc_service.engine.batch_runner import BatchRunner, Member
from fast_vc_service.engine.batching import Batch, Job, Result
from fast_vc_service.engine.capacity import CapacityError, measure
from fast_vc_service.engine.device_errors import (
    DeviceLostError,
    is_device_error,
    is_out_of_memory,
    telling_device,
)
from fast_vc_service.engine.model_thread import Measured
from fast_vc_service.engine.scheduler import Scheduler
from fast_vc_service.errors import UserError
from stub_converter import StubConverter, StubState, stub_voice
from tests.waiting import until

MEMORY = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Device(StubConverter):
    """Fails as a device does.

    Attributes:
        room: Sessions a step that its memory holds.
        error: Raised by every step, if there is one.
    """

    def __init__(self) -> None:
        super().__init__(noise=0.0, delay=0)
        self.room = 1 << 10
        self.error: Exception | None = None
        self.held: list[weakref.ref[FloatArray]] = []

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        gc.collect()
        assert not any(held() is not None for held in self.held), "a failed step holds memory"
        if self.error is not None:
            raise self.error
        if len(states) > self.room:
            self.steps.append(len(states))
            large = np.zeros(9, np.float32)
            self.held.append(weakref.ref(large))
            raise RuntimeError(*MEMORY.args)
        return super().step(blocks, states)


def batch(sessions: int) -> tuple[Batch, dict[int, Member]]:
    jobs = [
        Job(slot, np.ones(640, np.float32), 0.0, 0.0, None, None, lambda _result: None)
        for slot in range(sessions)
    ]
    members = {slot: Member(StubState(0.5, slot), str(slot)) for slot in range(sessions)}
    return Batch([], jobs), members


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of …",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error 2: cudaErrorMemoryAllocation",
    ],
)
def test_memory_is_told_from_other_errors(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert is_device_error(RuntimeError(text))
    assert not is_out_of_memory(ValueError(text))


def test_other_errors_of_a_device_are_told_from_mistakes() -> None:
    assert is_device_error(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))
    assert not is_device_error(RuntimeError("expected a tensor of 3 dimensions"))


def test_a_batch_that_memory_does_not_hold_is_halved() -> None:
    device, lowered = Device(), []
    device.room = 3
    ran = BatchRunner(device, on_out_of_memory=lowered.append).run(*batch(10), lambda: None)
    assert device.steps == [10, 5, 2, 2, 1, 5, 2, 2, 1]
    assert lowered == [5, 2, 2]
    assert all(result.silenced is None for _, result in ran.answers)
    assert len(ran.answers) == 10


def test_a_device_error_is_probed_once() -> None:
    device, probes = Device(), []
    device.error = RuntimeError("CUDA error: unspecified launch failure")

    def works() -> None:
        probes.append(1)
        device.error = None

    ran = BatchRunner(device, prove_device=works).run(*batch(3), lambda: None)
    assert len(probes) == 1
    assert all(result.silenced is None for _, result in ran.answers)
    device.error = RuntimeError("CUDA error: unspecified launch failure")

    def fails() -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    with pytest.raises(DeviceLostError):
        BatchRunner(device, prove_device=fails).run(*batch(3), lambda: None)


def here(calls: queue.Queue[Callable[[], None]]) -> Callable[[Callable[[], None]], None]:
    return calls.put


@pytest.fixture
def calls() -> queue.Queue[Callable[[], None]]:
    return queue.Queue()


def test_a_dead_device_is_the_failure_of_the_scheduler(
    calls: queue.Queue[Callable[[], None]],
) -> None:
    device, results = Device(), []
    scheduler = Scheduler(device, threads=1, max_batch=8)
    scheduler.judge_by(Measured(stub_voice(), 0.04, 0.01, 1))
    slot = scheduler.reserve(post=here(calls))
    slot.make_state(stub_voice(), 0.0, 0)
    device.error = RuntimeError("CUDA error: an illegal memory access was encountered")
    scheduler.start()
    slot.submit(np.ones(640, np.float32), results.append, deadline=0.0, late_at=None)
    calls.get(timeout=60)()
    assert [result.silenced for result in results] == ["lost"]
    assert scheduler.failed
    assert scheduler.stop()


def test_memory_that_ran_out_limits_the_batches_until_it_is_measured_again(
    calls: queue.Queue[Callable[[], None]],
) -> None:
    device = Device()
    device.room = 2
    scheduler = Scheduler(device, threads=1, max_batch=8, gather_s=0.0)
    results: list[Result] = []
    slots = [scheduler.reserve(post=here(calls)) for _ in range(4)]
    for seed, slot in enumerate(slots):
        slot.make_state(stub_voice(), 0.0, seed)
        slot.submit(np.ones(640, np.float32), results.append, deadline=0.0, late_at=None)
    scheduler.start()
    calls.get(timeout=60)()
    until(lambda: scheduler.max_batch == 2)
    assert [result.silenced for result in results] == [None] * 4
    scheduler.stop()


def test_a_session_that_memory_does_not_hold_is_refused(
    calls: queue.Queue[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device()
    scheduler = Scheduler(device, threads=1, max_batch=8)

    def full(*_args: object) -> State:
        raise MEMORY

    monkeypatch.setattr(device, "new_state", full)
    slot = scheduler.reserve(post=here(calls))
    with pytest.raises(CapacityError, match="no memory for another session"):
        slot.make_state(stub_voice(), 0.0, 0)


def test_the_warm_up_finds_the_largest_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity_module, "MODEL_SHARE", 1e9)
    monkeypatch.setattr(capacity_module, "MEASURED_S", 0.2)
    device = Device()
    device.room = 5
    found = measure(device, stub_voice(), threads=1, max_batch=64)
    assert found.memory_batch == 4
    device.room = 0
    with pytest.raises(UserError, match="not enough memory for one session"):
        measure(device, stub_voice(), threads=1, max_batch=64)


def test_what_keeps_a_model_from_being_loaded_is_one_sentence() -> None:
    with pytest.raises(UserError) as told, telling_device("cuda:1"):
        raise RuntimeError("CUDA error: invalid device ordinal\nCompile with `TORCH_USE_CUDA_DSA`")
    assert str(told.value) == (
        "the model cannot be loaded on cuda:1: CUDA error: invalid device ordinal"
    )


def test_a_step_that_hangs_on_a_device_is_the_failure_of_the_scheduler(
    calls: queue.Queue[Callable[[], None]],
) -> None:
    entered, leave = threading.Event(), threading.Event()

    class Hanging(Device):
        def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
            entered.set()
            assert leave.wait(60)
            return super().step(blocks, states)

    scheduler = Scheduler(Hanging(), threads=1, max_batch=8, hangs_for_good=True)
    scheduler.judge_by(Measured(stub_voice(), 0.04, 0.01, 1))
    slot = scheduler.reserve(post=here(calls))
    slot.make_state(stub_voice(), 0.0, 0)
    scheduler.start()
    results: list[Result] = []
    slot.submit(np.ones(640, np.float32), results.append, deadline=0.0, late_at=None)
    assert entered.wait(60)
    for _ in range(3):
        scheduler.check(9.0)
    assert scheduler.failed
    leave.set()
