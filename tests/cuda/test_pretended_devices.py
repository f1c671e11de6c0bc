"""The tool itself: it sees what it is to see."""

from __future__ import annotations

import contextlib
import shutil

import pytest
import torch

from tests.cuda import device_guard, streams
from tests.cuda.pretended import REPLACED, CaptureError, pretended
from tests.cuda.streams import TooEarlyError

pytestmark = pytest.mark.skipif(
    torch.version.cuda is not None, reason="a CUDA build of PyTorch has a device guard of its own"
)

HERE = torch.device("cuda:0")


def test_without_a_compiler_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(RuntimeError, match="needs a C\\+\\+ compiler"):
        device_guard.compiler()


def test_devices_do_not_mix() -> None:
    with pretended():
        one, other = torch.zeros(3, device=HERE), torch.zeros(3, device="cuda:1")
        for wrong in (other, torch.zeros(3)):
            with pytest.raises(RuntimeError, match="device"):
                one + wrong
        assert (one[:, None] + 1).device == HERE


def test_waits_are_counted() -> None:
    with pretended() as run:
        x = torch.zeros(3, device=HERE)
        torch.ones(3).to(HERE)
        x.sum().item()
        x.tolist()
        x.cpu()
        x[x > 0]
    assert sorted(kind for kind, _ in run.waits.elements()) == [
        "a copy to the device",
        "a copy to the host",
        "a list is read",
        "a mask as an index",
        "a number is read",
    ]


def test_a_recorded_graph_holds_neither_waits_nor_numbers_of_the_host() -> None:
    def recorded(work: object) -> None:
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            work()  # type: ignore[operator]

    with pretended():
        x, scalar = torch.zeros(3, device=HERE), torch.tensor(2.0)
        recorded(lambda: x * 2.0)
        for wrong in (lambda: x.sum().item(), x.cpu, lambda: x * scalar):
            with pytest.raises(CaptureError):
                recorded(wrong)


def test_a_copy_is_not_read_before_its_event() -> None:
    with pretended():
        x, event = torch.zeros(3, device=HERE), torch.cuda.Event()
        early, late = (x.to("cpu", non_blocking=True) for _ in range(2))
        with pytest.raises(TooEarlyError, match="reads what"):
            early.numpy()
        event.record()
        after = x.to("cpu", non_blocking=True)
        event.synchronize()
        assert early.tolist() == late.tolist()
        with pytest.raises(TooEarlyError, match="reads what"):
            after.tolist()
        last = torch.cuda.Event()
        last.record()
        last.synchronize()


def test_an_event_of_another_device_says_nothing() -> None:
    with pretended():
        copy = torch.zeros(3, device="cuda:1").to("cpu", non_blocking=True)
        for device, readable in (("cuda:0", False), ("cuda:1", True)):
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(torch.device(device)))
            event.synchronize()
            with contextlib.nullcontext() if readable else pytest.raises(TooEarlyError):
                copy.tolist()


def test_a_copy_is_awaited_and_its_source_left_alone() -> None:
    def never_awaited() -> None:
        with pretended():
            torch.zeros(3, device=HERE).to("cpu", non_blocking=True)

    def written_to() -> None:
        with pretended():
            kept = torch.zeros(3).pin_memory()
            kept.to(HERE, non_blocking=True)
            kept.numpy()[:] = 1.0

    with pytest.raises(TooEarlyError, match="nobody has waited"):
        never_awaited()
    with pytest.raises(TooEarlyError, match="was written to"):
        written_to()


def test_what_is_replaced_is_put_back() -> None:
    before = {(owner, name): getattr(owner, name) for owner, name in REPLACED}
    with pretended():
        assert torch.cuda.device_count() == 2
        assert torch.cuda.Event is streams.Event
    assert {key: getattr(*key) for key in before} == before
