"""Layers of the diffusion transformer, and what they are driven by.

Adaptive norms, attention with rotary positions, gated feed-forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.models.seedvc.dit_config import DitConfig

_RMS_EPS = 1e-5

Keys = tuple[Tensor, Tensor]
"""Keys, rotated, and values of some frames in one layer, ``[B, frames, heads, size]`` each."""


@dataclass(frozen=True)
class Conditioning:
    """What one call's rows are conditioned on, projected.

    Attributes:
        frames: ``[B, T, width]``, to which the state of the flow is added.
        style: Token ``[B, 1, width]``; None where style is part of the frames.
    """

    frames: Tensor
    style: Tensor | None


@dataclass(frozen=True)
class Modulation:
    """What the flow time decides, for B rows (or one for all).

    Attributes:
        token: ``[B, 1, width]``.
        norms: Gain and offset ``[B, 1, width]`` of the norms: two a layer and the last one. The
            offset is None where the time is a token.
        head: Of the last layers where they are a WaveNet: what it takes, and offset and gain
            ``[B, 1, channels]`` of the norm after it.
    """

    token: Tensor
    norms: tuple[tuple[Tensor, Tensor | None], ...]
    head: tuple[Tensor, Tensor, Tensor] | None

    def on(self, device: torch.device) -> Modulation:
        """The same on ``device``."""
        norms = tuple(
            (gain.to(device), None if offset is None else offset.to(device))
            for gain, offset in self.norms
        )
        head = self.head
        if head is not None:
            head = (head[0].to(device), head[1].to(device), head[2].to(device))
        return Modulation(self.token.to(device), norms, head)


class Norm(nn.Module):
    """RMS norm whose gain and offset may be driven by the time embedding."""

    def __init__(self, width: int, *, adaptive: bool) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.time = nn.Linear(width, 2 * width) if adaptive else None

    def modulation(self, time: Tensor) -> tuple[Tensor, Tensor | None]:
        """Gain and offset ``[B, 1, width]`` that a time embedding ``[B, width]`` decides."""
        if self.time is None:
            return self.gain, None
        gain, offset = self.time(time)[:, None].chunk(2, dim=2)
        return gain * self.gain, offset


def normed(x: Tensor, modulation: tuple[Tensor, Tensor | None]) -> Tensor:
    """Normalise ``[B, T, width]`` and apply what :meth:`Norm.modulation` gave."""
    gain, offset = modulation
    flat = functional.rms_norm(x.float(), x.shape[-1:], eps=_RMS_EPS)
    return flat * gain if offset is None else torch.addcmul(offset, flat, gain)


class Attention(nn.Module):
    """Self-attention with rotary positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        visible: Tensor | None,
        *,
        first: int,
        held: Keys | None,
    ) -> tuple[Tensor, Keys]:
        """Attend from the frames from ``first`` on to all.

        Args:
            x: ``[B, T, width]``.
            rotation: Cosines and sines ``[T, size / 2]`` of the frames' positions.
            visible: ``[B, 1, 1, T]``, False for frames nobody sees; None where all are seen.
            first: Nobody asks for the output of the frames before it.
            held: Keys and values of frames that are not in ``x``.

        Returns:
            ``[B, T - first, width]``, and keys and values of ``x``.
        """
        rows, frames, width = x.shape
        if first:
            weight = self.qkv.weight
            query = linear(x[:, first:], weight[:width])
            key, value = linear(x, weight[width:]).chunk(2, dim=2)
        else:
            query, key, value = self.qkv(x).chunk(3, dim=2)
        query, key, value = (
            part.reshape(rows, -1, self.heads, width // self.heads) for part in (query, key, value)
        )
        cos, sin = rotation
        # Turned in float32, attended to in the layer's own type.
        query = rotated(query, cos[first:], sin[first:]).to(value.dtype)
        key = rotated(key, cos, sin).to(value.dtype)
        own = (key, value)
        if held is not None:
            key = torch.cat([held[0], key], dim=1)
            value = torch.cat([held[1], value], dim=1)
        attended = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=visible
        )
        out: Tensor = self.out(attended.transpose(1, 2).reshape(rows, frames - first, width))
        return out, own


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, inner, bias=False)
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]`` to the same."""
        out: Tensor = self.down(functional.silu(self.gate(x)) * self.up(x))
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each around a shortcut, after an optional U-ViT skip."""

    def __init__(self, config: DitConfig, *, takes_skip: bool) -> None:
        super().__init__()
        self.skip = nn.Linear(2 * config.width, config.width) if takes_skip else None
        self.attention_norm = Norm(config.width, adaptive=not config.tokens)
        self.attention = Attention(config.width, config.heads)
        self.feed_forward_norm = Norm(config.width, adaptive=not config.tokens)
        self.feed_forward = FeedForward(config.width, config.inner)

    def modulations(self, time: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """What a time embedding ``[B, width]`` decides for both norms."""
        return [self.attention_norm.modulation(time), self.feed_forward_norm.modulation(time)]

    def forward(
        self,
        x: Tensor,
        skipped: Tensor | None,
        *,
        norms: tuple[tuple[Tensor, Tensor | None], ...],
        rotation: tuple[Tensor, Tensor],
        visible: Tensor | None,
        first: int,
        held: Keys | None,
    ) -> tuple[Tensor, Keys]:
        """``[B, T, width]`` to its frames from ``first`` on; see :class:`Attention`."""
        if self.skip is not None and skipped is not None:
            x = self.skip(torch.cat([x, skipped], dim=2))
        attended, keys = self.attention(
            normed(x, norms[0]), rotation, visible, first=first, held=held
        )
        x = x[:, first:] + attended
        return x + self.feed_forward(normed(x, norms[1])), keys


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``[..., in]`` to ``[..., out]`` in the type of the weights."""
    return functional.linear(x.to(weight.dtype), weight, bias)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate adjacent pairs of ``[B, T, heads, size]`` by angles ``[T, size / 2]``."""
    a, b = x[..., 0::2], x[..., 1::2]
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=4).flatten(3)


def rotations(positions: int, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``[positions, size / 2]`` of the rotary embedding."""
    exponents = torch.arange(0, size, 2, dtype=torch.float32)[: size // 2] / size
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), 1.0 / 10_000.0**exponents)
    return torch.cos(angles), torch.sin(angles)
