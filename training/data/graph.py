"""Run an ONNX graph with torch: convolutions in bfloat16, on CPU or CUDA.

The published speech generator stores its weights in 8 bits and quantises every activation on the
way. On processors that multiply bfloat16 (and on GPUs) it is about twice as fast to undo that
(:func:`dequantise`) and let torch run the graph; elsewhere onnxruntime stays the faster way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional

Node = Any
_DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool}


class UnsupportedError(RuntimeError):
    """The graph has an operation, or a pattern, that is not handled here."""


def _float_bias(name: str, producers: Mapping[str, Node]) -> str:
    """The bias before it was divided by the quantisation scale and rounded."""
    node = producers[name]
    while node.op_type != "Div":
        node = producers[node.input[0]]
    return str(node.input[0])


def dequantise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace dynamically quantised convolutions and products by float ones, in place.

    Raises:
        UnsupportedError: a quantised product is followed by something else than a scale.
    """
    graph = model.graph
    constants = {value.name: value for value in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    consumers: dict[str, list[Node]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)

    def follow(name: str, kind: str) -> Node:
        (node,) = consumers[name]
        if node.op_type != kind:
            raise UnsupportedError(f"{name}: expected {kind} next, got {node.op_type}")
        return node

    def other(node: Node, name: str) -> str:
        return str(next(value for value in node.input if value != name))

    replaced: dict[int, Node] = {}
    dropped: set[int] = set()
    for number, node in enumerate(graph.node):
        if node.op_type not in {"ConvInteger", "MatMulInteger"}:
            continue
        inputs = [producers[node.input[0]].input[0]]
        current, bias = node, ""
        if consumers[node.output[0]][0].op_type == "Add":
            current = follow(node.output[0], "Add")
            dropped.add(id(current))
            bias = _float_bias(other(current, node.output[0]), producers)
        cast = follow(current.output[0], "Cast")
        scale = follow(cast.output[0], "Mul")
        dropped |= {id(cast), id(scale)}
        scales = producers[other(scale, cast.output[0])]
        step = next(constants[name] for name in scales.input if name in constants)
        stored, zero = (numpy_helper.to_array(constants[node.input[i]]) for i in (1, 3))
        weight = (stored.astype(np.float32) - zero) * numpy_helper.to_array(step)
        name = f"float_{number}"
        graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), name))
        kind = node.op_type.removesuffix("Integer")
        inputs += [name, bias] if bias else [name]
        new = helper.make_node(kind, inputs, [scale.output[0]], name=node.name)
        if kind == "Conv":
            new.attribute.extend(node.attribute)
        replaced[id(node)] = new
    nodes = [replaced.get(id(node), node) for node in graph.node if id(node) not in dropped]
    _rebuild(graph, nodes)
    return model


def _rebuild(graph: Any, nodes: Sequence[Node]) -> None:
    """Keep what the outputs need, in an order that runs."""
    producers = {output: node for node in nodes for output in node.output}
    ordered: list[Node] = []
    seen: set[int] = set()
    stack = [(producers[output.name], False) for output in graph.output]
    while stack:
        node, ready = stack.pop()
        if ready:
            ordered.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(producers[name], False) for name in node.input if name in producers]
    del graph.node[:]
    graph.node.extend(ordered)
    used = {name for node in ordered for name in node.input}
    kept = [value for value in graph.initializer if value.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]


def _ints(value: Tensor) -> list[int]:
    return [int(number) for number in value.reshape(-1).tolist()]


def _bucket(frames: int) -> int:
    """The next of eight lengths an octave: a convolution is compiled anew for every length."""
    step = max(1, 1 << (frames.bit_length() - 4))
    return -(-frames // step) * step


def _conv(a: dict[str, Any], x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    low, high = a["pads"]
    if low != high:
        raise UnsupportedError("asymmetric padding")
    (stride,), (dilation,) = a["strides"], a["dilations"]
    wanted = (x.shape[-1] + 2 * low - dilation * (w.shape[-1] - 1) - 1) // stride + 1
    half = torch.bfloat16
    bias = None if b is None else b.to(half)
    padded = functional.pad(x.to(half), (0, _bucket(x.shape[-1]) - x.shape[-1]))
    y = functional.conv1d(padded, w.to(half), bias, stride, low, dilation, a["group"])
    return y[..., :wanted].float()


def _conv_transpose(a: dict[str, Any], x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    low = a["pads"][0]
    extra = a.get("output_padding", [0])[0]
    return functional.conv_transpose1d(
        x, w, b, a["strides"], low, extra, a["group"], a["dilations"]
    )


def _resize(a: dict[str, Any], x: Tensor, _roi: None, scales: Tensor) -> Tensor:
    factor = float(scales.reshape(-1)[-1])
    size = round(x.shape[-1] * factor)
    if a["mode"] == b"nearest":
        return functional.interpolate(x, size=size, mode="nearest")
    return functional.interpolate(x, scale_factor=factor, mode="linear", align_corners=False)


def _stft(_a: dict[str, Any], x: Tensor, hop: Tensor, window: Tensor, size: Tensor) -> Tensor:
    frames = x.reshape(x.shape[0], -1).unfold(1, int(size), int(hop)) * window
    parts = torch.view_as_real(torch.fft.rfft(frames)).clone()
    # The graph asks for imaginary > 0 to tell a phase of pi from one of -pi. The generator was
    # trained where a negative real number has phase pi.
    parts[..., 1].masked_fill_((parts[..., 1] == 0) & (parts[..., 0] < 0), 1e-20)
    return parts


def _slice(_a: dict[str, Any], x: Tensor, starts: Tensor, ends: Tensor, *more: Tensor) -> Tensor:
    axes = _ints(more[0]) if more else list(range(x.ndim))
    steps = _ints(more[1]) if len(more) > 1 else [1] * len(axes)
    index = [slice(None)] * x.ndim
    for axis, low, high, step in zip(axes, _ints(starts), _ints(ends), steps, strict=False):
        if step < 1:
            raise UnsupportedError("slices that run backwards")
        index[axis] = slice(low, high, step)
    return x[tuple(index)]


def _pad(a: dict[str, Any], x: Tensor, pads: Tensor) -> Tensor:
    low, high = _ints(pads)[x.ndim - 1], _ints(pads)[2 * x.ndim - 1]
    return functional.pad(x, (low, high), mode=a["mode"].decode())


def _scatter(_a: dict[str, Any], x: Tensor, index: Tensor, values: Tensor) -> Tensor:
    y = x.clone()
    y[tuple(index.unbind(-1))] = values
    return y


def _axes(_a: dict[str, Any], axes: Tensor) -> list[int]:
    return _ints(axes)


def _unsqueeze(a: dict[str, Any], x: Tensor, axes: Tensor) -> Tensor:
    for axis in sorted(_axes(a, axes)):
        x = x.unsqueeze(axis)
    return x


def _gather(a: dict[str, Any], x: Tensor, index: Tensor) -> Tensor:
    axis = a.get("axis", 0)
    picked = x.index_select(axis, index.reshape(-1).long())
    return picked.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def _reshape(_a: dict[str, Any], x: Tensor, shape: Tensor) -> Tensor:
    sizes = _ints(shape)
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(sizes)])


def _range(_a: dict[str, Any], low: Tensor, high: Tensor, step: Tensor) -> Tensor:
    return torch.arange(int(low), int(high), int(step), device=low.device)


Operation = Callable[..., Any]
_OPERATIONS: dict[str, Operation] = {
    "Add": lambda _a, x, y: x + y,
    "Sub": lambda _a, x, y: x - y,
    "Mul": lambda _a, x, y: x * y,
    "Div": lambda _a, x, y: x / y if x.is_floating_point() else x // y,
    "Pow": lambda _a, x, y: x.square() if float(y) == 2 else x ** float(y),
    "Sqrt": lambda _a, x: torch.sqrt(x),
    "Sin": lambda _a, x: torch.sin(x).float(),
    "Cos": lambda _a, x: torch.cos(x),
    # The graph takes a phase by atan(imaginary / real), 0 / 0 where a bin is silent.
    "Atan": lambda _a, x: torch.atan(x.nan_to_num()),
    "Exp": lambda _a, x: torch.exp(x),
    "Tanh": lambda _a, x: torch.tanh(x),
    "Floor": lambda _a, x: torch.floor(x),
    "Less": lambda _a, x, y: x < y,
    "Greater": lambda _a, x, y: x > y,
    "Equal": lambda _a, x, y: x == y,
    "Where": lambda _a, c, x, y: torch.where(c, x, y),
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a.get("alpha", 0.01)),
    "MatMul": lambda _a, x, y: x @ y,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Resize": _resize,
    "STFT": _stft,
    "Slice": _slice,
    "Pad": _pad,
    "ScatterND": _scatter,
    "Unsqueeze": _unsqueeze,
    "Squeeze": lambda a, x, axes: x.squeeze(tuple(_axes(a, axes))),
    "Gather": _gather,
    "Reshape": _reshape,
    "Range": _range,
    "Cast": lambda a, x: x.to(_DTYPES[a["to"]]),
    "Concat": lambda a, *xs: torch.cat(xs, a["axis"]),
    "Split": lambda a, x, sizes: x.split(_ints(sizes), a["axis"]),
    "ReduceMean": lambda a, x, axes: x.mean(_ints(axes), keepdim=bool(a["keepdims"])),
    "Transpose": lambda a, x: x.permute(*a["perm"]),
    # The phase of the harmonics, thousands of radians: in float32 its rounding is heard as noise.
    "CumSum": lambda _a, x, axis: torch.cumsum(x.double(), int(axis)),
    "Shape": lambda _a, x: torch.tensor(x.shape, device=x.device),
    "NonZero": lambda _a, x: x.nonzero().T,
    "Expand": lambda _a, x, shape: x.expand(np.broadcast_shapes(tuple(x.shape), _ints(shape))),
}


class TorchGraph:
    """A graph as a function of named tensors.

    Raises:
        UnsupportedError: at construction, for an operation that is not in the table above.
    """

    def __init__(self, model: onnx.ModelProto, device: torch.device) -> None:
        self.outputs = [value.name for value in model.graph.output]
        self._device = device
        self._constants = {
            value.name: torch.from_numpy(numpy_helper.to_array(value).copy()).to(device)
            for value in model.graph.initializer
        }
        self._plan: list[tuple[Operation, dict[str, Any], list[str], list[str]]] = []
        last: dict[str, int] = {}
        for number, node in enumerate(model.graph.node):
            if node.op_type not in _OPERATIONS:
                raise UnsupportedError(f"operation {node.op_type} of {node.name}")
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            names = list(node.input)
            self._plan.append((_OPERATIONS[node.op_type], attributes, names, list(node.output)))
            last |= dict.fromkeys(names, number)
        kept = {*self.outputs, *self._constants}
        self._free: list[list[str]] = [[] for _ in self._plan]
        for name, number in last.items():
            if name and name not in kept:
                self._free[number].append(name)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> TorchGraph:
        """Read, undo the quantisation, and prepare for ``device``."""
        return cls(dequantise(onnx.load(str(path))), device)

    @torch.inference_mode()
    def __call__(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs, in the graph's order."""
        values: dict[str, Any] = {
            **self._constants,
            **{name: value.to(self._device) for name, value in inputs.items()},
            "": None,
        }
        for number, (operation, attributes, names, outputs) in enumerate(self._plan):
            result = operation(attributes, *(values[name] for name in names))
            if len(outputs) == 1:
                values[outputs[0]] = result
            else:
                values.update(zip(outputs, result, strict=True))
            for name in self._free[number]:
                del values[name]
        return [values[name] for name in self.outputs]
