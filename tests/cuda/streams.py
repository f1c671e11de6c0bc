"""Streams, events, pinned memory and graphs of pretended devices.

A copy that does not block is under way until an event that was recorded after it has been awaited:
before, nobody on the host may read where it goes to, nor write where it comes from.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class TooEarlyError(AssertionError):
    """The host has touched what a copy still needs."""


@dataclass(eq=False)
class _Copy:
    """A copy that is under way: the host's side of it, and how that was when it began."""

    host: Tensor
    before: Tensor | None
    device: torch.device
    where: str


class Copies:
    """Non-blocking copies that no event has told the end of."""

    def __init__(self, place: Callable[[], str], wait: Callable[[str], None]) -> None:
        self._place = place
        self.wait = wait
        self._under_way: list[_Copy] = []
        self._pinned: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()

    def pinned(self, tensor: Tensor) -> Tensor:
        """A copy of ``tensor`` in pinned memory."""
        copy = tensor.clone()
        self._pinned[copy.untyped_storage().data_ptr()] = copy
        return copy

    def is_pinned(self, tensor: Tensor) -> bool:
        """Whether it was made by :meth:`pinned`."""
        return tensor.untyped_storage().data_ptr() in self._pinned

    def begin(self, source: Tensor, target: Tensor) -> None:
        """A copy between host and device begins."""
        if target.is_cuda:
            self._under_way.append(_Copy(source, source.clone(), target.device, self._place()))
        else:
            self._under_way.append(_Copy(target, None, source.device, self._place()))

    def begun(self, device: torch.device) -> list[_Copy]:
        """Copies of a device that are under way: an event that is recorded there ends them."""
        return [copy for copy in self._under_way if copy.device == device]

    def end(self, copies: list[_Copy]) -> None:
        """These have ended."""
        self.check_sources()
        self._under_way = [copy for copy in self._under_way if copy not in copies]

    def check_read(self, tensors: Iterable[Any]) -> None:
        """Fail when one of them is still being written to."""
        if not self._under_way:
            return
        read = {_address(tensor) for tensor in tensors if _is_here(tensor)}
        for copy in self._under_way:
            if copy.before is None and _address(copy.host) in read:
                raise TooEarlyError(f"{self._place()} reads what {copy.where} still copies")

    def check_sources(self) -> None:
        """Fail when the source of a copy has changed since it began."""
        for copy in self._under_way:
            if copy.before is not None and not torch.equal(copy.before, copy.host):
                raise TooEarlyError(f"what {copy.where} still copies was written to")

    def check_all(self) -> None:
        """Fail when something was touched, or came to the host and was never awaited."""
        self.check_sources()
        for copy in self._under_way:
            if copy.before is None:
                raise TooEarlyError(f"nobody has waited for the copy of {copy.where}")


def _is_here(tensor: Any) -> bool:
    return isinstance(tensor, Tensor) and tensor.device.type == "cpu"


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


_local = threading.local()


def capturing() -> bool:
    """Whether this thread records a graph."""
    return getattr(_local, "graph", None) is not None


_watched: list[Copies] = []


def watch(copies: Copies) -> None:
    """Events are about ``copies`` from now on."""
    _watched[:] = [copies]


class Event:
    """``torch.cuda.Event``: its wait ends the copies that began before it was recorded."""

    def __init__(self, **_named: Any) -> None:
        self._begun: list[_Copy] = []

    def record(self, stream: Stream | None = None) -> None:
        # Without a stream it is that of the first device, wherever the copies are.
        device = torch.device("cuda", 0) if stream is None else stream.device
        self._begun = _watched[0].begun(device)

    def synchronize(self) -> None:
        _watched[0].wait("an event")
        _watched[0].end(self._begun)


made_streams: list[torch.device] = []
"""Devices of the streams that were made, in order."""


class Stream:
    """``torch.cuda.Stream``: only its device is known."""

    def __init__(self, device: Any = None, **_named: Any) -> None:
        self.device = torch.device("cuda", 0) if device is None else torch.device(device)
        made_streams.append(self.device)

    def wait_stream(self, _other: Stream) -> None: ...


class Current(Stream):
    def __init__(self, device: Any = None) -> None:
        self.device = torch.device("cuda", 0) if device is None else torch.device(device)


class Graph:
    """``torch.cuda.CUDAGraph``."""

    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1


recorded: list[tuple[torch.device, Any]] = []
"""(device of the stream, memory pool) of the graphs that were recorded, in order."""


@contextlib.contextmanager
def graph(
    made: Graph, pool: Any = None, stream: Stream | None = None, **_named: Any
) -> Iterator[None]:
    """``torch.cuda.graph``."""
    # Without a stream, the first one that was ever made for graphs is taken, on its device.
    device = torch.device("cuda", 0) if stream is None else stream.device
    recorded.append((device, pool))
    _local.graph = made
    try:
        yield
    finally:
        _local.graph = None


REPLACED: dict[tuple[Any, str], Any] = {
    (torch.cuda, "Event"): Event,
    (torch.cuda, "Stream"): Stream,
    (torch.cuda, "current_stream"): Current,
    (torch.cuda, "stream"): lambda _stream: contextlib.nullcontext(),
    (torch.cuda, "device"): lambda _device: contextlib.nullcontext(),
    (torch.cuda, "synchronize"): lambda _device=None: None,
    (torch.cuda, "CUDAGraph"): Graph,
    (torch.cuda, "graph"): graph,
    (torch.cuda, "graph_pool_handle"): lambda: (0, len(recorded)),
}
