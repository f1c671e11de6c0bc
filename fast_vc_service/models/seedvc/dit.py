"""Diffusion transformer: the velocity of the flow from noise to mel.

Split so that what does not change between the sampler's steps is computed once: the projection of
prompt, condition and style (:meth:`DiT.condition`) and everything that depends on the flow time
alone (:meth:`DiT.modulation`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.models.checkpoint import Table
from fast_vc_service.models.seedvc import wavenet

STYLE = 192
_TIME_FEATURES = 256
_RMS_EPS, _LAYER_NORM_EPS = 1e-5, 1e-6


@dataclass(frozen=True)
class DitConfig:
    """Sizes of a diffusion transformer.

    Attributes:
        mels: Mel bins.
        width: Channels of the transformer.
        heads: Attention heads.
        depth: Layers.
        condition: Channels of the condition.
        tokens: Time and style are tokens in front of the frames; else the time drives the norms
            and the style is given to every frame.
        skips: U-ViT skips: later layers see the output of earlier ones.
        long_skip: The last layers see the state of the flow again.
        wavenet: Channels of the last layers as a WaveNet, those of the transformer; 0 for a plain
            network.
    """

    mels: int
    width: int
    heads: int
    depth: int
    condition: int
    tokens: bool = False
    skips: bool = True
    long_skip: bool = False
    wavenet: int = 0

    @property
    def inner(self) -> int:
        """Channels inside the feed-forward network."""
        return math.ceil(8 * self.width // 3 / 256) * 256

    def takes_skip(self, layer: int) -> bool:
        """Return whether ``layer`` sees the output of an earlier one."""
        return self.skips and layer > self.depth // 2


def table(config: DitConfig) -> Table:
    """Return the table of a network of this shape."""
    layer = "estimator.transformer.layers.{l}"
    names = {
        f"{layer}.attention.wqkv": "layers.{l}.attention.qkv",
        f"{layer}.attention.wo": "layers.{l}.attention.out",
        f"{layer}.feed_forward.w1": "layers.{l}.feed_forward.gate",
        f"{layer}.feed_forward.w3": "layers.{l}.feed_forward.up",
        f"{layer}.feed_forward.w2": "layers.{l}.feed_forward.down",
        f"{layer}.attention_norm.norm": "layers.{l}.attention_norm.gain",
        f"{layer}.attention_norm.project_layer": "layers.{l}.attention_norm.time",
        f"{layer}.ffn_norm.norm": "layers.{l}.feed_forward_norm.gain",
        f"{layer}.ffn_norm.project_layer": "layers.{l}.feed_forward_norm.time",
        f"{layer}.skip_in_linear": "layers.{l}.skip",
        "estimator.transformer.norm.norm": "norm.gain",
        "estimator.transformer.norm.project_layer": "norm.time",
        "estimator.t_embedder.mlp.{k}": "time.{k}",
        "estimator.t_embedder2.mlp.{k}": "wavenet_time.{k}",
        "estimator.cond_projection": "condition_in",
        "estimator.cond_x_merge_linear": "merge",
        "estimator.style_in": "style_in",
        "estimator.skip_linear": "long_skip",
        "estimator.final_mlp.{k}": "final.{k}",
        "estimator.conv1": "wavenet_in",
        "estimator.res_projection": "wavenet_skip",
        "estimator.wavenet.cond_layer.conv.conv": "wavenet.time",
        "estimator.wavenet.in_layers.{l}.conv.conv": "wavenet.gates.{l}",
        "estimator.wavenet.res_skip_layers.{l}.conv.conv": "wavenet.splits.{l}",
        "estimator.final_layer.adaLN_modulation.1": "final_time",
        "estimator.final_layer.linear": "final_linear",
        "estimator.conv2": "final_conv",
    }
    # The weight of a norm is a bare parameter of ours.
    names = {
        (f"{theirs}.weight" if ours.endswith(".gain") else theirs): ours
        for theirs, ours in names.items()
    }
    unused = [
        "estimator.input_pos",
        "estimator.t_embedder.freqs",
        "estimator.t_embedder2.freqs",
        "estimator.x_embedder",
        "estimator.cond_embedder",
        "estimator.content_mask_embedder",
    ]
    if config.tokens:
        unused += [f"{layer}.attention_norm.project_layer", f"{layer}.ffn_norm.project_layer"]
    unused += [
        f"estimator.transformer.layers.{index}.skip_in_linear"
        for index in range(config.depth)
        if not config.takes_skip(index)
    ]
    if not config.long_skip:
        unused.append("estimator.skip_linear")
    return Table("DiT", names, tuple(unused))


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


class _Norm(nn.Module):
    """RMS norm whose gain and offset may be driven by the time embedding."""

    def __init__(self, width: int, *, adaptive: bool) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.time = nn.Linear(width, 2 * width) if adaptive else None

    def modulation(self, time: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.time is None:
            return self.gain, None
        gain, offset = self.time(time)[:, None].chunk(2, dim=2)
        return gain * self.gain, offset


def _normed(x: Tensor, modulation: tuple[Tensor, Tensor | None]) -> Tensor:
    gain, offset = modulation
    normed = functional.rms_norm(x.float(), x.shape[-1:], eps=_RMS_EPS)
    return normed * gain if offset is None else torch.addcmul(offset, normed, gain)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], visible: Tensor | None, first: int
    ) -> Tensor:
        """Attend from the frames from ``first`` on to all: ``[B, T, width]`` to fewer frames."""
        rows, frames, width = x.shape
        if first:
            # Nobody asks for the earlier frames' output: keys and values alone.
            weight = self.qkv.weight
            query = functional.linear(x[:, first:], weight[:width])
            key, value = functional.linear(x, weight[width:]).chunk(2, dim=2)
        else:
            query, key, value = self.qkv(x).chunk(3, dim=2)
        query, key, value = (
            part.reshape(rows, -1, self.heads, width // self.heads) for part in (query, key, value)
        )
        cos, sin = rotation
        query = rotated(query, cos[first:frames], sin[first:frames])
        key = rotated(key, cos[:frames], sin[:frames])
        attended = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=visible
        )
        out: Tensor = self.out(attended.transpose(1, 2).reshape(rows, frames - first, width))
        return out


class _FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, inner, bias=False)
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(functional.silu(self.gate(x)) * self.up(x))
        return out


class _Layer(nn.Module):
    def __init__(self, config: DitConfig, *, takes_skip: bool) -> None:
        super().__init__()
        self.skip = nn.Linear(2 * config.width, config.width) if takes_skip else None
        self.attention_norm = _Norm(config.width, adaptive=not config.tokens)
        self.attention = _Attention(config.width, config.heads)
        self.feed_forward_norm = _Norm(config.width, adaptive=not config.tokens)
        self.feed_forward = _FeedForward(config.width, config.inner)

    def modulations(self, time: Tensor) -> list[tuple[Tensor, Tensor | None]]:
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
    ) -> Tensor:
        if self.skip is not None and skipped is not None:
            x = self.skip(torch.cat([x, skipped], dim=2))
        x = x[:, first:] + self.attention(_normed(x, norms[0]), rotation, visible, first)
        out: Tensor = x + self.feed_forward(_normed(x, norms[1]))
        return out


class DiT(nn.Module):
    """The velocity estimator of all presets."""

    frequencies: Tensor

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        exponents = torch.arange(_TIME_FEATURES // 2, dtype=torch.float32) / (_TIME_FEATURES // 2)
        self.register_buffer(
            "frequencies", torch.exp(-math.log(10_000) * exponents), persistent=False
        )
        self.time = _time_network(width)
        self.condition_in = nn.Linear(config.condition, width)
        repeated_style = 0 if config.tokens else STYLE
        self.merge = nn.Linear(2 * config.mels + width + repeated_style, width)
        if config.tokens:
            self.style_in = nn.Linear(STYLE, width)
        self.layers = nn.ModuleList(
            _Layer(config, takes_skip=config.takes_skip(layer)) for layer in range(config.depth)
        )
        self.norm = _Norm(width, adaptive=True)
        if config.long_skip:
            self.long_skip = nn.Linear(width + config.mels, width)
        if config.wavenet:
            self.wavenet_time = _time_network(width)
            self.wavenet_in = nn.Linear(width, config.wavenet)
            self.wavenet_skip = nn.Linear(width, config.wavenet)
            self.wavenet = wavenet.WaveNet(config.wavenet)
            self.final_time = nn.Linear(width, 2 * config.wavenet)
            self.final_linear = nn.Linear(config.wavenet, config.wavenet)
            self.final_conv = nn.Conv1d(config.wavenet, config.mels, 1)
        else:
            self.final = nn.Sequential(
                nn.Linear(width, width), nn.SiLU(), nn.Linear(width, config.mels)
            )

    @property
    def tokens(self) -> int:
        """Positions in front of the first frame."""
        return 2 if self.config.tokens else 0

    def forward(
        self,
        x: Tensor,
        prompt: Tensor,
        lengths: Tensor,
        time: Tensor,
        *,
        style: Tensor,
        mu: Tensor,
    ) -> Tensor:
        """Velocity of a batch, in one call.

        Args:
            x: State of the flow ``[B, mels, T]``; the prompt's frames are zero.
            prompt: The prompt's mel ``[B, mels, T]``, zero after it.
            lengths: Valid frames ``[B]`` or ``[1]``; T at most.
            time: Flow time ``[B]`` from 0 (noise) to 1 (mel).
            style: Speaker embeddings ``[B, 192]``.
            mu: Condition ``[B, T, condition]``.

        Returns:
            ``[B, mels, T]``.
        """
        frames = x.shape[2]
        valid = torch.arange(frames, device=x.device) < lengths[:, None]
        return self.velocity(
            x,
            self.condition(prompt, mu, style),
            self.modulation(time),
            valid=None if bool(valid.all()) else valid.expand(x.shape[0], frames),
        )

    def condition(self, prompt: Tensor, mu: Tensor, style: Tensor) -> Conditioning:
        """Project what stays the same in all steps; shapes as in :meth:`forward`."""
        mels = self.config.mels
        fixed = [prompt.transpose(1, 2), self.condition_in(mu)]
        if not self.config.tokens:
            fixed.append(style[:, None].expand(-1, mu.shape[1], -1))
        frames = functional.linear(
            torch.cat(fixed, dim=2), self.merge.weight[:, mels:], self.merge.bias
        )
        return Conditioning(frames, self.style_in(style)[:, None] if self.config.tokens else None)

    def unconditional(self, like: Conditioning) -> Conditioning:
        """Return what :meth:`condition` makes of zeros, in the shape of ``like``."""
        weight, width = self.merge.weight, self.config.width
        mels = self.config.mels
        # Zero inputs, not zero projections: the biases still speak.
        nothing = functional.linear(
            self.condition_in.bias, weight[:, 2 * mels : 2 * mels + width], self.merge.bias
        )
        frames = nothing.expand_as(like.frames)
        if like.style is None:
            return Conditioning(frames, None)
        return Conditioning(frames, self.style_in.bias.expand_as(like.style))

    def modulation(self, time: Tensor) -> Modulation:
        """Everything that depends on the flow time ``[B]`` alone."""
        angles = (1000.0 * time)[:, None] * self.frequencies
        features = torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)
        embedding = self.time(features)
        norms: list[tuple[Tensor, Tensor | None]] = []
        for layer in self.layers:
            norms += cast("_Layer", layer).modulations(embedding)
        norms.append(self.norm.modulation(embedding))
        head = None
        if self.config.wavenet:
            gates = self.wavenet.modulation(self.wavenet_time(features))
            offset, gain = self.final_time(functional.silu(embedding))[:, None].chunk(2, dim=2)
            head = (gates, offset, 1.0 + gain)
        return Modulation(embedding[:, None], tuple(norms), head)

    def velocity(
        self,
        x: Tensor,
        condition: Conditioning,
        modulation: Modulation,
        *,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Velocity of the newest frames.

        Args:
            x: State of the flow ``[B, mels, N]`` of the last N of T frames; those before are the
                prompt's, whose state is zero and whose velocity nobody needs.
            condition: Of all T frames.
            modulation: Of the flow time.
            valid: ``[B, T]``, False past a row's length; None where all are valid.

        Returns:
            ``[B, mels, N]``.
        """
        rows, frames = condition.frames.shape[:2]
        prompt = frames - x.shape[2]
        state = x.transpose(1, 2)
        added = functional.linear(state, self.merge.weight[:, : self.config.mels])
        h = condition.frames + functional.pad(added, (0, 0, prompt, 0))
        if condition.style is not None:
            h = torch.cat([modulation.token.expand(rows, -1, -1), condition.style, h], dim=1)
        visible = None
        if valid is not None:
            visible = functional.pad(valid, (self.tokens, 0), value=True)[:, None, None]
        # Only what reaches the frames that are asked for is carried through the last layer.
        margin = min(prompt, wavenet.RECEPTIVE) if self.config.wavenet else 0
        first = self.tokens + prompt - margin
        h = self._transform(h, modulation, visible, first)
        if self.config.long_skip:
            h = self.long_skip(torch.cat([h, functional.pad(state, (0, 0, margin, 0))], dim=2))
        if modulation.head is None:
            out: Tensor = self.final(h).transpose(1, 2)
            return out
        kept = None if valid is None else valid[:, None, prompt - margin :].to(h.dtype)
        return self._wavenet_head(h, modulation.head, kept)[:, :, margin:]

    def _transform(
        self, h: Tensor, modulation: Modulation, visible: Tensor | None, first: int
    ) -> Tensor:
        """Run the layers and the last norm; returns the positions from ``first`` on."""
        half = self.config.depth // 2
        rotation = rotations(h.shape[1], self.config.width // self.config.heads, h.device)
        skips: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            skipped = skips.pop() if self.config.takes_skip(index) else None
            norms = modulation.norms[2 * index : 2 * index + 2]
            last = index == self.config.depth - 1
            h = layer(
                h,
                skipped,
                norms=norms,
                rotation=rotation,
                visible=visible,
                first=first if last else 0,
            )
            if index < half:
                skips.append(h)
        return _normed(h, modulation.norms[-1])

    def _wavenet_head(
        self, h: Tensor, modulation: tuple[Tensor, Tensor, Tensor], valid: Tensor | None
    ) -> Tensor:
        gates, offset, gain = modulation
        z = self.wavenet(self.wavenet_in(h).transpose(1, 2), gates, valid)
        z = z.transpose(1, 2) + self.wavenet_skip(h)
        normed = functional.layer_norm(z, z.shape[-1:], eps=_LAYER_NORM_EPS)
        out: Tensor = self.final_conv(
            self.final_linear(torch.addcmul(offset, normed, gain)).transpose(1, 2)
        )
        return out


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate adjacent pairs of ``[B, T, heads, size]`` by angles ``[T, size / 2]``."""
    a, b = x[..., 0::2], x[..., 1::2]
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=4).flatten(3)


@lru_cache(maxsize=64)
def rotations(positions: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``[positions, size / 2]`` of the rotary embedding."""
    exponents = torch.arange(0, size, 2, dtype=torch.float32)[: size // 2] / size
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), 1.0 / 10_000.0**exponents)
    return torch.cos(angles).to(device), torch.sin(angles).to(device)


def _time_network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(_TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
