"""WaveNet-style gated convolutions: the last layers of the ``small`` preset."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS = 8
_KERNEL = 5
_REACH = _KERNEL // 2

RECEPTIVE = LAYERS * _REACH
"""Frames to each side that a frame's output depends on."""


class WaveNet(nn.Module):
    """Eight gated layers of kernel 5 without dilation, driven by the time embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.time = nn.Conv1d(width, 2 * width * LAYERS, 1)
        self.gates = nn.ModuleList(nn.Conv1d(width, 2 * width, _KERNEL) for _ in range(LAYERS))
        self.splits = nn.ModuleList(
            nn.Conv1d(width, 2 * width if layer < LAYERS - 1 else width, 1)
            for layer in range(LAYERS)
        )

    def modulation(self, time: Tensor) -> Tensor:
        """What :meth:`forward` wants of a time embedding ``[B, width]``: ``[B, 16 width, 1]``."""
        modulation: Tensor = self.time(time[:, :, None])
        return modulation

    def forward(self, x: Tensor, modulation: Tensor, valid: Tensor | None) -> Tensor:
        """Transform ``[B, width, T]``.

        Args:
            x: Frames.
            modulation: From :meth:`modulation`.
            valid: ``[B, 1, T]``, 0 past a row's length; None where all are valid.
        """
        out = torch.zeros_like(x)
        biases = modulation.chunk(LAYERS, dim=1)
        for layer, (gate, split) in enumerate(zip(self.gates, self.splits, strict=True)):
            signal, sigma = (gate(_reflected(x)) + biases[layer]).chunk(2, dim=1)
            h = split(torch.tanh(signal) * torch.sigmoid(sigma))
            if layer < LAYERS - 1:
                passed, h = h.chunk(2, dim=1)
                x = x + passed if valid is None else (x + passed) * valid
            out = out + h
        return out if valid is None else out * valid


def _reflected(x: Tensor) -> Tensor:
    """Pad by reflection; what is too short for it is first extended with zeros."""
    lacking = _REACH + 1 - x.shape[2]
    if lacking > 0:
        extended = functional.pad(x, (0, lacking))
        return functional.pad(extended, (_REACH, _REACH), "reflect")[:, :, :-lacking]
    return functional.pad(x, (_REACH, _REACH), "reflect")
