"""Copies between the host and a device, for which the host waits as seldom as it can.

An ordinary copy makes the host wait until everything before it has been computed. From pinned
memory it need not; what comes to the host is there once an event after it has been awaited.
"""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return ``tensor``, which is on the host, on ``device``; on CUDA nobody waits for it."""
    if device.type != "cuda":
        return tensor.to(device)
    # PyTorch keeps the pinned block until the copy has ended.
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(*tensors: Tensor) -> list[Tensor]:
    """Return tensors of one device on the host, after one wait for all of them."""
    device = tensors[0].device
    if device.type != "cuda":
        return [tensor.cpu() for tensor in tensors]
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record(torch.cuda.current_stream(device))
    copied.synchronize()
    return copies
