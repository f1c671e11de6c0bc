"""Linear layers whose weights lie packed in float16, for CPUs.

A step has few rows, so its linear layers take the time that reading their weights takes. The
shipped weights are float16 already: packed as such they are read in half the time, laid out for
the kernel, and multiplied and summed in float32 (``benchmarks/runtimes.py`` has the figures).
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

ENGINES = {"x86", "fbgemm", "onednn"}
"""Quantised back ends of PyTorch that have the kernel (FBGEMM's)."""

Network = TypeVar("Network", bound=nn.Module)


def available(device: torch.device) -> bool:
    """Whether this build of PyTorch packs for ``device``."""
    return device.type == "cpu" and torch.backends.quantized.engine in ENGINES


class PackedLinear(nn.Module):
    """What ``linear`` does, for inference alone."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._packed = torch.ops.quantized.linear_prepack_fp16(
            linear.weight.detach().float().contiguous(),
            None if linear.bias is None else linear.bias.detach().float(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)
        return out


def pack(network: Network) -> Network:
    """Replace the linear layers of ``network`` in place; it can not be trained afterwards."""
    for name, child in network.named_children():
        if isinstance(child, nn.Linear):
            setattr(network, name, PackedLinear(child))
        else:
            pack(child)
    return network
