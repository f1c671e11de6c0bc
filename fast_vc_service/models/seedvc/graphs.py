"""Networks as CUDA graphs: thousands of kernel launches become one.

Graphs are recorded in the warm-up and never in a live step, the largest batch first: all of a
device share one pool of memory, and what the largest needs the others fit into. A batch that no
recording has room for runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from loguru import logger
from torch import Tensor


@dataclass(frozen=True)
class _Recorder:
    """What all recordings of a device share."""

    stream: Any
    pool: Any


@cache
def _recorder(device: torch.device) -> _Recorder:
    return _Recorder(torch.cuda.Stream(device), torch.cuda.graph_pool_handle())  # type: ignore[no-untyped-call]


@dataclass
class Graphs:
    """The recordings of one model, which belongs to one thread at a time.

    Attributes:
        recording: Whether a batch of a size that is not known is recorded now.
    """

    recording: bool = False
    _functions: list[Graphed] = field(default_factory=list)

    def of(self, function: Callable[..., Tensor], name: str) -> Graphed:
        """Return ``function`` as graphs; ``name`` is for the log."""
        graphed = Graphed(function, name, self)
        self._functions.append(graphed)
        return graphed

    @contextmanager
    def being_recorded(self) -> Iterator[None]:
        """Record what runs in the block."""
        self.recording = True
        try:
            yield
        finally:
            self.recording = False

    @property
    def largest(self) -> int:
        """Most rows that every function is recorded for; 0 where one has none."""
        return min((function.largest for function in self._functions), default=0)


Argument = Tensor | int | None


class Graphed:
    """A function of CUDA tensors ``[B, ...]`` to one ``[B, ...]``, recorded once a shape.

    A recording keeps inputs and output in memory of its own; what a batch does not fill runs idle.
    What is no tensor among the arguments is the same for all that one recording serves.
    """

    def __init__(self, function: Callable[..., Tensor], name: str, graphs: Graphs) -> None:
        self._function = function
        self._name = name
        self._graphs = graphs
        self._recordings: dict[tuple[Any, ...], dict[int, _Recording | None]] = {}

    @property
    def largest(self) -> int:
        """Most rows that are recorded."""
        return max(
            (rows for sizes in self._recordings.values() for rows, made in sizes.items() if made),
            default=0,
        )

    def __call__(self, *arguments: Argument) -> Tensor:
        """What the function answers."""
        rows = _rows(arguments)
        key = tuple(each.shape[1:] if isinstance(each, Tensor) else each for each in arguments)
        if self._graphs.recording:
            sizes = self._recordings.setdefault(key, {})
            if rows not in sizes:
                sizes[rows] = self._record(arguments)
        else:
            sizes = self._recordings.get(key, {})
        fit = [made for size, made in sorted(sizes.items()) if size >= rows and made is not None]
        return fit[0].replay(arguments) if fit else self._function(*arguments)

    def _record(self, arguments: Sequence[Argument]) -> _Recording | None:
        """A recording; None where there can be none, which is said once and is for good."""
        try:
            return _Recording(self._function, arguments)
        except RuntimeError as error:
            logger.warning(
                "{} is not recorded as a CUDA graph for {} sessions: {}",
                self._name,
                _rows(arguments),
                error,
            )
            return None


class _Recording:
    def __init__(self, function: Callable[..., Tensor], arguments: Sequence[Argument]) -> None:
        self._inputs = [each.clone() if isinstance(each, Tensor) else each for each in arguments]
        device = next(each.device for each in arguments if isinstance(each, Tensor))
        shared = _recorder(device)
        current = torch.cuda.current_stream(device)
        # Libraries choose their algorithms at first use, which may not be recorded.
        shared.stream.wait_stream(current)
        with torch.cuda.stream(shared.stream):
            for _ in range(2):
                function(*self._inputs)
        current.wait_stream(shared.stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            self._graph, shared.pool, shared.stream, capture_error_mode="thread_local"
        ):
            self._out = function(*self._inputs)

    def replay(self, arguments: Sequence[Argument]) -> Tensor:
        rows = _rows(arguments)
        for kept, given in zip(self._inputs, arguments, strict=True):
            if isinstance(kept, Tensor) and isinstance(given, Tensor):
                kept[:rows].copy_(given)
        self._graph.replay()
        return self._out[:rows].clone()


def _rows(arguments: Sequence[Argument]) -> int:
    return next(len(each) for each in arguments if isinstance(each, Tensor))
