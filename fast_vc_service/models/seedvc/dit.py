"""Diffusion transformer: the velocity of the flow from noise to mel.

Split so that what does not change between the sampler's steps is computed once: the projection of
prompt, condition and style (:meth:`DiT.condition`) and everything that depends on the flow time
alone (:meth:`DiT.modulation`).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.models.seedvc import wavenet
from fast_vc_service.models.seedvc.dit_config import DitConfig
from fast_vc_service.models.seedvc.dit_layers import (
    Conditioning,
    Keys,
    Layer,
    Modulation,
    Norm,
    linear,
    normed,
    rotations,
)

STYLE = 192
_TIME_FEATURES = 256
_LAYER_NORM_EPS = 1e-6
_POSITIONS = 16_384  # as many as the published networks have


class DiT(nn.Module):
    """The velocity estimator of all presets."""

    frequencies: Tensor
    cos: Tensor
    sin: Tensor

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        exponents = torch.arange(_TIME_FEATURES // 2, dtype=torch.float32) / (_TIME_FEATURES // 2)
        self.register_buffer(
            "frequencies", torch.exp(-math.log(10_000) * exponents), persistent=False
        )
        for name, table in zip(
            ("cos", "sin"), rotations(_POSITIONS, width // config.heads), strict=True
        ):
            self.register_buffer(name, table, persistent=False)
        self.time = _time_network(width)
        self.condition_in = nn.Linear(config.condition, width)
        repeated_style = 0 if config.tokens else STYLE
        self.merge = nn.Linear(2 * config.mels + width + repeated_style, width)
        if config.tokens:
            self.style_in = nn.Linear(STYLE, width)
        self.layers = nn.ModuleList(
            Layer(config, takes_skip=config.takes_skip(layer)) for layer in range(config.depth)
        )
        self.norm = Norm(width, adaptive=True)
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
        frames = linear(torch.cat(fixed, dim=2), self.merge.weight[:, mels:], self.merge.bias)
        return Conditioning(frames, self.style_in(style)[:, None] if self.config.tokens else None)

    def unconditional(self, like: Conditioning) -> Conditioning:
        """Return what :meth:`condition` makes of zeros, in the shape of ``like``."""
        weight, width = self.merge.weight, self.config.width
        mels = self.config.mels
        # Zero inputs, not zero projections: the biases still speak.
        nothing = linear(
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
            norms += cast("Layer", layer).modulations(embedding)
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
        return self.velocity_and_keys(x, condition, modulation, valid=valid)[0]

    def velocity_and_keys(
        self,
        x: Tensor,
        condition: Conditioning,
        modulation: Modulation,
        *,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Keys, ...]]:
        """As :meth:`velocity`, with keys and values of the prompt's frames in each layer."""
        prompt = condition.frames.shape[1] - x.shape[2]
        visible = None
        if valid is not None:
            visible = functional.pad(valid, (self.tokens, 0), value=True)[:, None, None]
        margin = self._margin(prompt)
        h = self._transformer_in(x, condition, modulation)
        rotation = self.cos[: h.shape[1]], self.sin[: h.shape[1]]
        # Only what reaches the frames that are asked for is carried through the last layer.
        first = self.tokens + prompt - margin
        h, keys = self._transform(h, modulation, rotation, first=first, visible=visible)
        kept = None if valid is None else valid[:, None, prompt - margin :].to(h.dtype)
        held = tuple(
            (key[:, self.tokens : first], value[:, self.tokens : first]) for key, value in keys
        )
        return self._head(h, x, modulation, margin, kept), held

    def velocity_beside(
        self,
        x: Tensor,
        condition: Conditioning,
        modulation: Modulation,
        held: tuple[Keys, ...],
    ) -> Tensor:
        """Velocity with the prompt's frames as another flow time left them: an approximation.

        Args:
            x: As for :meth:`velocity`.
            condition: As for :meth:`velocity`.
            modulation: Of this flow time.
            held: From :meth:`velocity_and_keys` at an earlier one.

        Returns:
            ``[B, mels, N]``.
        """
        prompt = condition.frames.shape[1] - x.shape[2]
        margin = self._margin(prompt)
        start = prompt - margin
        own = Conditioning(condition.frames[:, start:], condition.style)
        h = self._transformer_in(x, own, modulation)
        own_places = slice(self.tokens + start, start + h.shape[1])
        rotation = (
            torch.cat([self.cos[: self.tokens], self.cos[own_places]]),
            torch.cat([self.sin[: self.tokens], self.sin[own_places]]),
        )
        h, _ = self._transform(h, modulation, rotation, first=self.tokens, held=held)
        return self._head(h, x, modulation, margin, None)

    def _margin(self, prompt: int) -> int:
        """Frames of the prompt that the last layers want to see."""
        return min(prompt, wavenet.RECEPTIVE) if self.config.wavenet else 0

    def _transformer_in(self, x: Tensor, condition: Conditioning, modulation: Modulation) -> Tensor:
        rows, frames = condition.frames.shape[:2]
        added = linear(x.transpose(1, 2), self.merge.weight[:, : self.config.mels])
        h = condition.frames + functional.pad(added, (0, 0, frames - x.shape[2], 0))
        if condition.style is not None:
            h = torch.cat([modulation.token.expand(rows, -1, -1), condition.style, h], dim=1)
        return h

    def _transform(
        self,
        h: Tensor,
        modulation: Modulation,
        rotation: tuple[Tensor, Tensor],
        *,
        first: int,
        visible: Tensor | None = None,
        held: tuple[Keys, ...] | None = None,
    ) -> tuple[Tensor, list[Keys]]:
        """Run the layers and the last norm; returns the positions from ``first`` on."""
        half = self.config.depth // 2
        skips: list[Tensor] = []
        keys: list[Keys] = []
        for index, layer in enumerate(self.layers):
            skipped = skips.pop() if self.config.takes_skip(index) else None
            h, own = layer(
                h,
                skipped,
                norms=modulation.norms[2 * index : 2 * index + 2],
                rotation=rotation,
                visible=visible,
                first=first if index == self.config.depth - 1 else 0,
                held=None if held is None else held[index],
            )
            keys.append(own)
            if index < half:
                skips.append(h)
        return normed(h, modulation.norms[-1]), keys

    def _head(
        self, h: Tensor, x: Tensor, modulation: Modulation, margin: int, kept: Tensor | None
    ) -> Tensor:
        """The last layers: ``[B, margin + N, width]`` to ``[B, mels, N]``."""
        if self.config.long_skip:
            state = functional.pad(x.transpose(1, 2), (0, 0, margin, 0))
            h = self.long_skip(torch.cat([h, state], dim=2))
        if modulation.head is None:
            out: Tensor = self.final(h).transpose(1, 2)
            return out
        return self._wavenet_head(h, modulation.head, kept)[:, :, margin:]

    def _wavenet_head(
        self, h: Tensor, modulation: tuple[Tensor, Tensor, Tensor], valid: Tensor | None
    ) -> Tensor:
        gates, offset, gain = modulation
        z = self.wavenet(self.wavenet_in(h).transpose(1, 2), gates, valid)
        z = z.transpose(1, 2) + self.wavenet_skip(h)
        flat = functional.layer_norm(z.float(), z.shape[-1:], eps=_LAYER_NORM_EPS)
        out: Tensor = self.final_conv(
            self.final_linear(torch.addcmul(offset, flat, gain)).transpose(1, 2)
        )
        return out


def _time_network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(_TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
