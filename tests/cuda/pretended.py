"""Code run as if its tensors were on CUDA devices, which are not there.

Tensors on a pretended device have a shape, a type and a device, and no numbers: mixing devices
raises, as on a true one. What the code copies to the host becomes real there, filled with
:data:`NUMBER`. A run counts the operators that would launch a kernel, and where the host would wait
for the device. What had to be replaced for that is in :data:`REPLACED`; it is not tested here.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from fast_vc_service.engine import families
from fast_vc_service.process.cuda import CudaFacts
from tests.cuda import streams
from tests.cuda.device_guard import load_guard
from tests.cuda.streams import Copies

ROOT = Path(__file__).parents[2]
PACKAGE = str(ROOT / "fast_vc_service")
NUMBER = 0.6
"""What every number copied from a pretended device is; whole numbers are 1, truth is true."""

DEVICES = 2

MODE = FakeTensorMode(allow_non_fake_inputs=True)
"""One for the process: constants that the code keeps by device outlive a test."""

VIEWS = frozenset(
    (
        "_conj",
        "_reshape_alias",
        "_unsafe_view",
        "alias",
        "as_strided",
        "chunk",
        "detach",
        "device",
        "diagonal",
        "empty",
        "empty_like",
        "empty_strided",
        "expand",
        "imag",
        "is_same_size",
        "layout",
        "lift_fresh",
        "movedim",
        "narrow",
        "new_empty",
        "permute",
        "real",
        "reshape",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "swapaxes",
        "sym_numel",
        "sym_size",
        "sym_stride",
        "t",
        "transpose",
        "unbind",
        "unfold",
        "unsqueeze",
        "view",
        "view_as_real",
    )
)
"""Operators that launch nothing."""

WAITS = frozenset(("nonzero", "masked_select", "_unique2", "unique_dim"))
"""Operators whose output's shape the host has to ask for."""


class CaptureError(AssertionError):
    """What a CUDA graph cannot hold happened while one was recorded."""


class Run(TorchDispatchMode):
    """Counts what a piece of code asks of its devices.

    Attributes:
        dispatches: Operators that would launch at least one kernel.
        operators: Their names, counted.
        waits: (kind, file:line) of every wait of the host, counted.
        types: (operator, type of its output) in order.
        copies: Non-blocking copies that are under way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dispatches = 0
        self.operators: Counter[str] = Counter()
        self.waits: Counter[tuple[str, str]] = Counter()
        self.types: list[tuple[str, torch.dtype]] = []
        self.copies = Copies(place, self.wait)

    @property
    def synchronisations(self) -> int:
        """How often the host would have waited."""
        return sum(self.waits.values())

    def wait(self, kind: str) -> None:
        """Take note that the host waits for a device here."""
        where = place()
        self.waits[kind, where] += 1
        if streams.capturing():
            raise CaptureError(f"{kind} at {where} while a graph is recorded")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.copies.check_read(inputs)
        if name in ("_local_scalar_dense", "is_nonzero"):
            return self._scalar(func, args)
        if name == "scaled_dot_product_attention" and args[0].is_cuda:
            return self._attention(*args[:3])
        if _composite(func):
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        out = self._run(func, name, args, kwargs, inputs)
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if any(tensor.is_cuda for tensor in (*inputs, *outputs)):
            self._count(name, args, kwargs, inputs, outputs)
        elif outputs and name not in VIEWS:
            self.types.append((name, outputs[0].dtype))
        return out

    def _scalar(self, func: Any, args: Any) -> Any:
        tensor = args[0]
        if not isinstance(tensor, FakeTensor):
            return func(*args)
        if tensor.is_cuda:
            self.wait("a number is read")
        return made_up(tensor).item()

    def _attention(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """One kernel, as fused attention is."""
        assert len({(part.device, part.dtype) for part in (query, key, value)}) == 1
        self.operators["scaled_dot_product_attention"] += 1
        self.dispatches += 1
        return _empty((*query.shape[:-1], value.shape[-1]), query.dtype, query.device)

    def _run(self, func: Any, name: str, args: Any, kwargs: Any, inputs: list[Tensor]) -> Any:
        wanted = kwargs.get("device")
        on_device = wanted is not None and torch.device(wanted).type == "cuda"
        if not on_device and not any(isinstance(tensor, FakeTensor) for tensor in inputs):
            return func(*args, **kwargs)
        if name == "nonzero":
            return _empty((args[0].numel(), args[0].ndim), torch.long, args[0].device)
        if name == "index" and any(_is_mask(index) for index in args[1]):
            # As if all were chosen; only masks over the whole tensor are used.
            return _empty((args[0].numel(),), args[0].dtype, args[0].device)
        if name == "_to_copy" and on_device and not isinstance(args[0], FakeTensor):
            # What the mode knows to be constant it would compute with on the device.
            alike = args[0].to("meta", kwargs.get("dtype"))
            return FakeTensor(MODE, alike, _indexed(torch.device(wanted)))
        with MODE:
            out = func(*args, **kwargs)
        return tree_map_only(FakeTensor, lambda t: t if t.is_cuda else made_up(t), out)

    def _count(
        self, name: str, args: Any, kwargs: Any, inputs: list[Tensor], outputs: list[Tensor]
    ) -> None:
        self.operators[name] += 1
        if name in VIEWS:
            return
        self.dispatches += 1
        if outputs:
            self.types.append((name, outputs[0].dtype))
        if name in ("_to_copy", "copy_"):
            source = args[0] if name == "_to_copy" else args[1]
            later = kwargs.get("non_blocking", False) or (name == "copy_" and args[2:] == (True,))
            self._copied(source, outputs[0], non_blocking=later)
        elif name in WAITS:
            self.wait(f"the shape of {name}")
        elif name in ("index", "index_put", "index_put_"):
            if any(_is_mask(index) for index in args[1]):
                self.wait("a mask as an index")
            if any(index is not None and not index.is_cuda for index in args[1]):
                self.wait("an index on the host")
        elif streams.capturing() and any(not tensor.is_cuda for tensor in inputs):
            raise CaptureError(f"a number of the host in {name} at {place()} of a graph")

    def _copied(self, source: Tensor, target: Tensor, *, non_blocking: bool) -> None:
        if source.is_cuda == target.is_cuda:
            return
        kind = "to the device" if target.is_cuda else "to the host"
        if non_blocking and (source.is_cuda or self.copies.is_pinned(source)):
            self.copies.begin(source, target)
            if streams.capturing():
                raise CaptureError(f"a copy {kind} at {place()} while a graph is recorded")
        else:
            self.wait(f"a copy {kind}")


class Host(TorchFunctionMode):
    """Numbers for what is read of tensors on pretended devices by calls that are no operators."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("numpy", "tolist", "__array__") and args:
            self._run.copies.check_read([args[0]])
            if isinstance(args[0], FakeTensor) and name != "tolist":
                raise TypeError("can't convert a tensor on a device to numpy")
        if name == "pin_memory":
            return self._run.copies.pinned(args[0])
        return func(*args, **kwargs)


def made_up(tensor: Tensor) -> Tensor:
    """A tensor of the host as ``tensor`` is, with numbers."""
    value: Any = NUMBER if tensor.dtype.is_floating_point else 1
    return torch.full(tuple(tensor.shape), value, dtype=tensor.dtype)


def place() -> str:
    """File and line of the innermost code of the package that runs."""
    frame = sys._getframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE):
            return f"{Path(name).relative_to(ROOT).as_posix()}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "?"


def _composite(func: Any) -> bool:
    return bool(
        func.namespace == "aten"
        and func._can_decompose()
        and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    )


def _indexed(device: torch.device) -> torch.device:
    return torch.device("cuda", device.index or 0)


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def _empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with MODE:
        return torch.empty(shape, dtype=dtype, device=device)


# ---------------------------------------------------------------- what is replaced, and for what

_runs: list[Run] = []
_tensor = torch.tensor
_to = nn.Module.to


def _made_tensor(data: Any, *, dtype: Any = None, device: Any = None, **named: Any) -> Tensor:
    made = _tensor(data, dtype=dtype, **named)
    return made if device is None else made.to(device)


def _moved(module: nn.Module, *args: Any, **named: Any) -> nn.Module:
    wanted = args[0] if args else named.get("device")
    is_device = isinstance(wanted, str | torch.device)
    if not is_device or torch.device(wanted).type != "cuda":
        return _to(module, *args, **named)
    device = _indexed(torch.device(wanted))
    for part in module.modules():
        # As swapping parameters would: whoever has the module has it on the device.
        for table in (part._parameters, part._buffers):
            for name, value in table.items():
                if value is not None:
                    table[name] = FakeTensor(MODE, value.detach().to("meta"), device)
        kept = [name for name, value in vars(part).items() if isinstance(value, Tensor)]
        if kept:
            raise AssertionError(f"{type(part).__name__}: {kept} would stay where they are")
        if isinstance(part, nn.RNNBase):
            part._flat_weights = [part._parameters.get(name) for name in part._flat_weights_names]
    return module


def _listed(self: FakeTensor) -> Any:
    _runs[-1].wait("a list is read")
    return made_up(self).tolist()


def _recurrent(self: nn.GRU, x: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, None]:
    for weight in self._flat_weights:
        assert weight is not None
        assert (weight.device, weight.dtype) == (x.device, x.dtype)
    return x.new_zeros(*x.shape[:2], 2 * self.hidden_size), None


REPLACED: dict[tuple[Any, str], Any] = {
    # Nothing is there that could be initialised.
    (torch.cuda, "_lazy_init"): lambda: None,
    (torch.cuda, "is_available"): lambda: True,
    (torch.cuda, "device_count"): lambda: DEVICES,
    # Asks the driver, and PyTorch what it was built for.
    (families, "facts_of"): lambda _index: CudaFacts("pretended", "13.0", devices=DEVICES),
    # Makes its numbers on the host anyway.
    (torch, "tensor"): _made_tensor,
    # It swaps parameters, which tensors without numbers refuse.
    (nn.Module, "to"): _moved,
    # It reads number by number, which a true device does at once.
    (FakeTensor, "tolist"): _listed,
    # cuDNN's program has no counterpart without numbers; its devices and types are checked.
    (nn.GRU, "forward"): _recurrent,
    **streams.REPLACED,
}
"""(owner, name) of every function that is another one here."""


@contextlib.contextmanager
def pretended() -> Iterator[Run]:
    """Run the code of the block on pretended devices, and count."""
    load_guard()
    run = Run()
    kept = {(owner, name): getattr(owner, name) for owner, name in REPLACED}
    for (owner, name), instead in REPLACED.items():
        setattr(owner, name, instead)
    streams.watch(run.copies)
    _runs.append(run)
    try:
        with run, Host(run):
            yield run
        run.copies.check_all()
    finally:
        _runs.pop()
        for (owner, name), before in kept.items():
            setattr(owner, name, before)


def audio(seconds: float, rows: int | None = None, seed: int = 0) -> Any:
    """Noise at 16 kHz, ``[samples]`` or ``[rows, samples]``."""
    shape = (round(seconds * 16_000),) if rows is None else (rows, round(seconds * 16_000))
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)
