"""Functions of tensors as TorchScript graphs, which Python calls as a whole.

A step is some thousand operations on small tensors. Called from Python, that costs as much again as
they compute, and only one thread can be in Python at a time. A graph does the same operations, bit
for bit, and leaves the interpreter lock free meanwhile: so each model thread fills a core.

PyTorch calls ``torch.jit`` deprecated. Of what it names instead, ``torch.compile`` needs a C++
compiler on every host, and an exported program is still run from Python.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from fast_vc_service.models.nano.tree import leaves, rebuild

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Graph(Generic[Arguments, Answer]):
    """``function`` as a graph; made at the first call, and anew for another number of frames.

    Args:
        network: Whose function it is.
        function: Of trees (:mod:`tree`) of tensors ``[B, ...]`` to one. The first tensor's shape
            behind B decides all others; B may change from call to call.
    """

    def __init__(self, network: nn.Module, function: Callable[Arguments, Answer]) -> None:
        self._network, self._function = network, function
        self._made: dict[torch.Size, tuple[Any, Answer]] = {}
        self._making = threading.Lock()

    def __call__(self, *arguments: Arguments.args, **_named: Arguments.kwargs) -> Answer:
        """What the function answers."""
        tensors = leaves(arguments)
        key = tensors[0].shape[1:]
        if key not in self._made:
            with self._making:
                if key not in self._made:
                    self._made[key] = self._make(arguments, tensors)
        graph, model = self._made[key]
        return rebuild(model, iter(graph(*tensors)))

    def _make(self, arguments: Any, example: list[Tensor]) -> tuple[Any, Answer]:
        flat = _Flat(self._network, self._function, arguments).eval()
        with warnings.catch_warnings():
            # Besides the deprecation: of Python's decisions on shapes, which `key` covers.
            warnings.simplefilter("ignore")
            trace: Any = torch.jit.trace
            graph = torch.jit.freeze(trace(flat, tuple(example), check_trace=False))
        function: Callable[..., Answer] = self._function
        return graph, function(*arguments)


def as_graph(
    network: nn.Module, function: Callable[Arguments, Answer]
) -> Callable[Arguments, Answer]:
    """``function`` of ``network`` as a :class:`Graph`."""
    return Graph(network, function)


def as_it_is(
    _network: nn.Module, function: Callable[Arguments, Answer]
) -> Callable[Arguments, Answer]:
    """``function`` called from Python: where each operation is long, or runs elsewhere."""
    return function


class _Flat(nn.Module):
    """A function with every tensor of its arguments and its answer by itself."""

    def __init__(self, network: nn.Module, function: Callable[..., Any], arguments: Any) -> None:
        super().__init__()
        self.network = network  # only what is part of it can be traced
        self._function, self._arguments = function, arguments

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(leaves(self._function(*rebuild(self._arguments, iter(tensors)))))
