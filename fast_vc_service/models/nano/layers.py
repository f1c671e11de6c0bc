"""Causal ConvNeXt blocks whose streaming path gives what the offline path gives."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FEW_FRAMES = 32
"""Up to here a depthwise convolution is faster as a sum of products than by its own kernel."""


class ConvBlock(nn.Module):
    """Depthwise convolution over time, then a pointwise network, around a residual.

    ``right`` frames of look-ahead delay the streaming output by as many frames.
    """

    def __init__(self, width: int, kernel: int, right: int = 0, expansion: int = 3) -> None:
        super().__init__()
        self.left, self.right = kernel - 1 - right, right
        self.depthwise = nn.Conv1d(width, width, kernel, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    @property
    def cache_frames(self) -> int:
        """Frames of input that :meth:`stream` keeps."""
        return self.left + self.right

    def _filter(self, joined: Tensor) -> Tensor:
        if torch.is_grad_enabled() or joined.shape[1] > FEW_FRAMES:
            out: Tensor = self.depthwise(joined.transpose(1, 2))
            return out.transpose(1, 2)
        taps = self.depthwise.weight[:, 0]
        filtered = (joined.unfold(1, taps.shape[1], 1) * taps).sum(-1)
        return filtered if self.depthwise.bias is None else filtered + self.depthwise.bias

    def _change(self, joined: Tensor, modulation: Tensor | None = None) -> Tensor:
        h = self.norm(self._filter(joined))
        scale: Tensor = self.scale
        if modulation is not None:
            stretch, shift, gate = modulation.chunk(3, -1)
            h = h * (1 + stretch) + shift
            scale = scale * (1 + gate)
        return torch.mul(scale, self.down(functional.gelu(self.up(h))))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] to the same; frames outside are zero."""
        return x + self._change(functional.pad(x, (0, 0, self.left, self.right)))

    def stream(self, x: Tensor, cache: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            x: [B, n, width], the newest input frames.
            cache: [B, cache_frames, width], the inputs before them (zeros at the start).
            first: [B], index of the first frame of ``x`` in each session.

        Returns:
            Output frames [B, n, width], the first of index ``first - right`` (zeros where that is
            negative: those frames do not exist), and the new cache.
        """
        y, kept = self._advance(x, cache, None)
        if self.right:
            index = first[:, None] - self.right + torch.arange(x.shape[1], device=x.device)
            y = y * (index >= 0)[:, :, None].to(y.dtype)
        return y, kept

    def _advance(
        self, x: Tensor, cache: Tensor, modulation: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        joined = torch.cat([cache.to(x.dtype), x], dim=1)
        y = joined[:, self.left : self.left + x.shape[1]] + self._change(joined, modulation)
        return y, joined[:, joined.shape[1] - self.cache_frames :]


class ModulatedBlock(ConvBlock):
    """Frames scaled, shifted and gated by a style [B, style]; it does not look ahead."""

    def __init__(self, width: int, style: int, kernel: int) -> None:
        super().__init__(width, kernel)
        self.modulation = nn.Linear(style, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def modulate(self, style: Tensor) -> Tensor:
        """What a style [B, style] does to this block: [B, 1, 3 width], the same for all frames."""
        modulation: Tensor = self.modulation(style)
        return modulation[:, None]

    def stream(  # type: ignore[override]
        self, x: Tensor, modulation: Tensor, cache: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`ConvBlock.stream`, under a modulation."""
        return self._advance(x, cache, modulation)
