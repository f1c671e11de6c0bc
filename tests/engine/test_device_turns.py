"""One user of a device at a time; live work waits for one piece of a file at most."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from fast_vc_service.contract import FloatArray, State
from fast_vc_service.engine import placement
from fast_vc_service.engine.device_turns import DeviceTurns, TakingTurns, turns_of
from fast_vc_service.engine.placement import Lane
from fast_vc_service.engine.scheduler import Scheduler
from fast_vc_service.models.pieces import between_pieces
from stub_converter import StubConverter, stub_voice
from tests.waiting import until


class InPieces(StubConverter):
    """Works in pieces, each of which waits until it may end."""

    def __init__(self, pieces: int, done: list[str]) -> None:
        super().__init__(noise=0.0, delay=0)
        self.may_end = threading.Semaphore(0)
        self.begun = 0
        self._pieces, self._done = pieces, done

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        for piece in range(self._pieces):
            if piece:
                between_pieces()
            self.begun += 1
            assert self.may_end.acquire(timeout=60)
            self._done.append("piece")
        return super().step(blocks, states)


def stepping(converter: TakingTurns) -> threading.Thread:
    state = converter.new_state(stub_voice())
    block = np.zeros((1, converter.block), np.float32)
    return threading.Thread(target=converter.step, args=(block, [state]), daemon=True)


def test_a_live_step_waits_for_one_piece_of_a_file() -> None:
    turns, done = DeviceTurns(), []
    slow, quick = InPieces(5, done), InPieces(1, done)
    file, live = TakingTurns(slow, turns, live=False), TakingTurns(quick, turns, live=True)
    filing, speaking = stepping(file), stepping(live)
    filing.start()
    until(lambda: slow.begun == 1)
    speaking.start()
    until(lambda: turns._live_waiting == 1)
    slow.may_end.release()
    until(lambda: quick.begun == 1)
    assert slow.begun == 1, "the next piece waits for the live step"
    quick.may_end.release()
    until(lambda: slow.begun == 2)
    for _ in range(4):
        slow.may_end.release()
    filing.join(60)
    speaking.join(60)
    assert done == ["piece"] * 6


def test_what_is_live_is_not_interrupted() -> None:
    turns, done = DeviceTurns(), []
    first, second = InPieces(2, done), InPieces(1, done)
    speaking = stepping(TakingTurns(first, turns, live=True))
    waiting = stepping(TakingTurns(second, turns, live=True))
    speaking.start()
    until(lambda: first.begun == 1)
    waiting.start()
    until(lambda: turns._live_waiting == 1)
    first.may_end.release()
    until(lambda: first.begun == 2)
    assert second.begun == 0
    first.may_end.release()
    second.may_end.release()
    speaking.join(60)
    waiting.join(60)


def test_the_turns_of_a_device_are_the_same_for_all() -> None:
    assert turns_of("cuda") is turns_of("cuda:0")
    assert turns_of("cuda:0") is not turns_of("cuda:1")


class Recording(StubConverter):
    """Notes in which thread it is recorded and stepped."""

    def __init__(self) -> None:
        super().__init__(noise=0.0, delay=0)
        self.threads: set[str] = set()
        self.recorded = 0

    def record(self, voice: object, max_batch: int) -> int:
        self.threads.add(threading.current_thread().name)
        self.recorded = max_batch // 4
        return self.recorded

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        self.threads.add(threading.current_thread().name)
        return super().step(blocks, states)


def test_a_cuda_device_is_warmed_up_in_its_model_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "session_memory", lambda *_args: None)
    converter = Recording()
    scheduler = Scheduler(converter, threads=1, max_batch=64)
    lane = Lane("cuda:1", converter, scheduler, 1, 64)
    lane.warm_up(stub_voice())
    assert converter.threads == {"model-0"}
    assert max(converter.steps) <= scheduler.max_batch == converter.recorded == 16
    assert scheduler.stop()


def test_what_fails_in_the_model_thread_fails_where_it_was_asked_for() -> None:
    scheduler = Scheduler(StubConverter(), threads=1, max_batch=8)
    scheduler.start()

    def fail() -> None:
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        scheduler.in_model_thread(fail)
    assert scheduler.in_model_thread(lambda: 3) == 3
    assert scheduler.stop()
    with pytest.raises(RuntimeError, match="have stopped"):
        scheduler.in_model_thread(lambda: 3)
