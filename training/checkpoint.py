"""Checkpoints that a run can resume from, and the averaged weights that are shipped."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import nn


class Average:
    """Exponential moving average of a network's weights, with a warm-up; buffers are copied."""

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._decay = decay

    def update(self, network: nn.Module, step: int) -> None:
        """Move towards ``network`` after ``step`` steps."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for mine, its in zip(self.network.parameters(), network.parameters(), strict=True):
                mine.lerp_(its, 1 - decay)
            for kept, now in zip(self.network.buffers(), network.buffers(), strict=True):
                kept.copy_(now)


class Stateful(Protocol):
    """A network, an optimiser, or what else changes in training."""

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """As it was."""
        ...


def save(path: Path, step: int, parts: Mapping[str, Stateful]) -> None:
    """Write all that :func:`restore` needs, atomically."""
    partial = path.with_suffix(".partial")
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"step": step, **states}, partial)
    partial.replace(path)


def restore(path: Path, parts: Mapping[str, Stateful], device: torch.device) -> int:
    """Continue from ``path``; returns the steps done, 0 when there is no such file."""
    if not path.is_file():
        return 0
    stored = torch.load(path, map_location=device, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(stored[name])
    return int(stored["step"])


def start_from(path: Path, network: nn.Module) -> None:
    """Take over the shipped weights of an earlier run; missing or strange names are an error."""
    device = next(network.parameters()).device
    tensors = load_file(path)
    network.load_state_dict({name: value.float().to(device) for name, value in tensors.items()})


def export(path: Path, network: nn.Module, settings: Mapping[str, Any]) -> None:
    """Float32 safetensors with the network's settings as JSON in the header."""
    tensors = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, {"settings": json.dumps(dict(settings), ensure_ascii=False)})
    partial.replace(path)
