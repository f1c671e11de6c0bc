"""Acoustic model: content, F0 and a target voice to the vocoder's envelope.

A causal trunk of convolution blocks, modulated by the speaker and helped by attention to frames of
the reference with similar content, runs once a frame of 20 ms and predicts the mean envelope. What
the mean cannot have, the detail that makes speech sharp, a second small network adds (DiT-style
modulation, Peebles & Xie 2023). It either draws it from noise in a few Euler steps (flow matching,
Lipman et al. 2023) or, trained against a discriminator, makes it in one step from zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.models.nano.envelope import BANDS, BANDS_BELOW_7K6
from fast_vc_service.models.nano.layers import ModulatedBlock
from fast_vc_service.models.nano.spectrum import MELS

STEP_FRAMES = 2
"""Envelope frames (10 ms) a frame of the model (20 ms)."""

CUES = 3 * STEP_FRAMES
"""Numbers a frame beside the content: energy, log F0 and voicing of each 10 ms frame."""

SOURCE_FEATURES = CUES + MELS * STEP_FRAMES
"""The same with the source's log-mel, for networks that hear it."""

GLOBAL = 192 + 2 * BANDS_BELOW_7K6
"""Numbers of a speaker: CAM++ embedding, mean and deviation of the reference's envelope."""

MEMORY = STEP_FRAMES * BANDS_BELOW_7K6
"""Numbers of the envelope of a frame of the reference."""

LOWEST, CENTRE, SPREAD = -8.5, -4.0, 2.0
"""Log amplitudes (relative to the speech level) below LOWEST are all silence."""

REFERENCE_F0_HZ = 150.0


@dataclass(frozen=True)
class AcousticConfig:
    """Sizes of the network, and what it is.

    Attributes:
        hears_mel: whether the source's log-mel is heard beside the content.
        generator: whether the detail is made in one step from zero noise.
    """

    content: int = 96
    width: int = 256
    blocks: int = 8
    kernel: int = 7
    rank: int = 64
    attention: int = 192
    heads: int = 4
    flow_width: int = 256
    flow_blocks: int = 3
    hears_mel: bool = True
    generator: bool = False


@dataclass(frozen=True)
class Speaker:
    """A target voice (or B of them).

    Attributes:
        vector: [B, GLOBAL], normalised by :func:`speaker_vector`.
        content: [B, N, content] bottleneck frames of the reference.
        envelope: [B, N, MEMORY] its envelope, normalised.
        mask: [B, N], True where there is a frame.
    """

    vector: Tensor
    content: Tensor
    envelope: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Prepared:
    """What :meth:`Acoustic.prepare` makes of a speaker once.

    Attributes:
        trunk: modulation of each trunk block.
        flow: modulation of each flow block in each Euler step.
        keys, values: two [B, heads, N, size] each, of the two attentions.
        mask: [B, 1, 1, N].
    """

    trunk: tuple[Tensor, ...]
    flow: tuple[tuple[Tensor, ...], ...]
    keys: tuple[Tensor, Tensor]
    values: tuple[Tensor, Tensor]
    mask: Tensor


@dataclass(frozen=True)
class AcousticState:
    """What a session keeps between steps.

    Attributes:
        trunk: one cache a block, [B, frames, width].
        flow: one cache a flow block for each Euler step.
    """

    trunk: tuple[Tensor, ...]
    flow: tuple[tuple[Tensor, ...], ...]


def normalise(envelope: Tensor) -> Tensor:
    """Envelope relative to the speech level, as the networks see it."""
    return (envelope.clamp(min=LOWEST) - CENTRE) / SPREAD


def restore(x: Tensor) -> Tensor:
    """The inverse of :func:`normalise`."""
    return SPREAD * x + CENTRE


def source_features(
    energy: Tensor, f0_hz: Tensor, voicing: Tensor, mel: Tensor | None = None
) -> Tensor:
    """The numbers of the source beside its content: [B, T, SOURCE_FEATURES], or CUES without mel.

    Args:
        energy: [B, 2 T] log energy of the source relative to its speech level.
        f0_hz: [B, 2 T] of the target, read where voiced.
        voicing: [B, 2 T] in [0, 1].
        mel: [B, 2 T, MELS] of the source relative to its speech level: the frames that the content
            encoder took in last, so it runs ahead of the rest by that encoder's look-ahead.
    """
    pitch = torch.log(f0_hz.clamp(min=30) / REFERENCE_F0_HZ) * voicing
    rows = torch.stack([energy.clamp(-8.0, 3.0) / 3.0, 2 * pitch, voicing], -1)
    if mel is not None:
        rows = torch.cat([rows, normalise(mel)], -1)
    return rows.reshape(rows.shape[0], -1, STEP_FRAMES * rows.shape[-1])


def euler_times(steps: int, rows: int, device: torch.device | None = None) -> list[Tensor]:
    """Times [rows] of the steps of the flow, from 0 on."""
    return [torch.full((rows,), step / steps, device=device) for step in range(steps)]


def speaker_vector(embedding: Tensor, envelope: Tensor, mask: Tensor) -> Tensor:
    """[B, GLOBAL] from a speaker embedding and the reference's normalised envelope.

    Args:
        embedding: [B, 192] of CAM++, any length.
        envelope: [B, N, MEMORY].
        mask: [B, N]; frames that count.
    """
    bands = envelope.reshape(*envelope.shape[:2], STEP_FRAMES, BANDS_BELOW_7K6).mean(2)
    loud = mask & (bands.mean(-1) > (LOWEST + 1.5 - CENTRE) / SPREAD)
    weight = torch.where(loud.any(1, keepdim=True), loud, mask)[..., None].to(bands.dtype)
    count = weight.sum(1).clamp(min=1)
    mean = (bands * weight).sum(1) / count
    deviation = torch.sqrt(((bands - mean[:, None]).square() * weight).sum(1) / count + 1e-5)
    direction = functional.normalize(embedding, dim=-1) * math.sqrt(192)
    return torch.cat([direction, mean, deviation], -1)


class Attention(nn.Module):
    """Weighted mean of the frames of the reference, by how similar their content is."""

    def __init__(self, query: int, config: AcousticConfig) -> None:
        super().__init__()
        self._heads = config.heads
        self.to_query = nn.Linear(query, config.attention)
        self.to_key = nn.Linear(config.content, config.attention)
        self.to_value = nn.Linear(MEMORY, config.attention)
        self.out = nn.Linear(config.attention, config.width)
        if query == config.content:
            # What sounds alike has like content: start from there.
            self.to_key.load_state_dict(self.to_query.state_dict())

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self._heads, -1).transpose(1, 2)

    def prepare(self, speaker: Speaker) -> tuple[Tensor, Tensor]:
        """Keys and values [B, heads, N, size]."""
        return (
            self._split(self.to_key(speaker.content)),
            self._split(self.to_value(speaker.envelope)),
        )

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """[B, T, query] to [B, T, width]."""
        query = self._split(self.to_query(x))
        mixed = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


def _modulate(blocks: nn.ModuleList, style: Tensor) -> tuple[Tensor, ...]:
    return tuple(block.modulate(style) for block in blocks if isinstance(block, ModulatedBlock))


def _run(
    blocks: nn.ModuleList,
    h: Tensor,
    modulations: Sequence[Tensor],
    caches: Sequence[Tensor],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    kept = []
    for block, modulation, cache in zip(blocks, modulations, caches, strict=True):
        assert isinstance(block, ModulatedBlock)  # noqa: S101 - for the type checker
        h, new = block.stream(h, modulation, cache)
        kept.append(new)
    return h, tuple(kept)


def _caches(
    blocks: nn.ModuleList, batch: int, width: int, device: torch.device | None
) -> tuple[Tensor, ...]:
    return tuple(
        torch.zeros(batch, block.cache_frames, width, device=device)
        for block in blocks
        if isinstance(block, ModulatedBlock)
    )


class Flow(nn.Module):
    """Velocity of the detail, given the trunk's frame, the speaker, and the time."""

    def __init__(self, config: AcousticConfig) -> None:
        super().__init__()
        width, size = config.flow_width, STEP_FRAMES * BANDS
        self.stem = nn.Linear(size + config.width, width)
        self.time = nn.Sequential(
            nn.Linear(64, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )
        self.narrow = nn.Linear(config.width, config.rank)
        self.blocks = nn.ModuleList(
            ModulatedBlock(width, config.rank, config.kernel) for _ in range(config.flow_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, size)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def modulate(self, style: Tensor, time: Tensor) -> tuple[Tensor, ...]:
        """Modulations of the blocks for a style [B, width] at a time [B] of the flow."""
        rates = torch.exp(torch.arange(32, device=time.device) * (-math.log(1000.0) / 31)) * 30.0
        angle = time[:, None] * rates
        when = self.time(torch.cat([torch.sin(angle), torch.cos(angle)], -1))
        return _modulate(self.blocks, self.narrow(functional.silu(style + when)))

    def stream(
        self,
        x: Tensor,
        h: Tensor,
        modulations: Sequence[Tensor],
        caches: Sequence[Tensor],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Velocity [B, T, 2 BANDS] at ``x``, and the new caches."""
        y = self.stem(torch.cat([x, h], -1))
        y, kept = _run(self.blocks, y, modulations, caches)
        return self.out(self.norm(y)), kept


class Acoustic(nn.Module):
    """See the module's description."""

    detail: Tensor

    def __init__(self, config: AcousticConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.style = nn.Sequential(nn.Linear(GLOBAL, width), nn.SiLU(), nn.Linear(width, width))
        self.alike = Attention(config.content, config)
        self.timbre = Attention(width, config)
        self.narrow = nn.Linear(width, config.rank)
        self.stem = nn.Linear(
            config.content + (SOURCE_FEATURES if config.hears_mel else CUES), width
        )
        self.blocks = nn.ModuleList(
            ModulatedBlock(width, config.rank, config.kernel) for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.mean = nn.Linear(width, STEP_FRAMES * BANDS)
        self.flow = Flow(config)
        # Deviation of the detail around the mean; learned as a running figure in training.
        self.register_buffer("detail", torch.full((STEP_FRAMES * BANDS,), 0.3))

    def prepare(self, speaker: Speaker, times: Sequence[Tensor]) -> Prepared:
        """All that depends on the speaker and the times [B] of the flow's steps alone."""
        one, two = self.alike.prepare(speaker), self.timbre.prepare(speaker)
        style = self.style(speaker.vector)
        return Prepared(
            _modulate(self.blocks, self.narrow(functional.silu(style))),
            tuple(self.flow.modulate(style, time) for time in times),
            (one[0], two[0]),
            (one[1], two[1]),
            speaker.mask[:, None, None],
        )

    def new_state(
        self, batch: int, steps: int, device: torch.device | None = None
    ) -> AcousticState:
        """The state of ``batch`` sessions that have heard nothing; ``steps`` of the flow."""
        config = self.config
        return AcousticState(
            _caches(self.blocks, batch, config.width, device),
            tuple(
                _caches(self.flow.blocks, batch, config.flow_width, device) for _ in range(steps)
            ),
        )

    def trunk(
        self, content: Tensor, features: Tensor, speaker: Prepared, state: AcousticState
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Hidden frames, mean envelopes (normalised) and new caches."""
        h = self.stem(torch.cat([content, features], -1))
        h = h + self.alike(content, speaker.keys[0], speaker.values[0], speaker.mask)
        half = len(self.blocks) // 2
        lower, upper = self.blocks[:half], self.blocks[half:]
        h, low = _run(lower, h, speaker.trunk[:half], state.trunk[:half])
        h = h + self.timbre(h, speaker.keys[1], speaker.values[1], speaker.mask)
        h, high = _run(upper, h, speaker.trunk[half:], state.trunk[half:])
        h = self.norm(h)
        return h, self.mean(h), (*low, *high)

    def stream(
        self,
        content: Tensor,
        features: Tensor,
        noise: Tensor,
        speaker: Prepared,
        state: AcousticState,
    ) -> tuple[Tensor, AcousticState]:
        """T more frames of 20 ms.

        Args:
            content: [B, T, content].
            features: [B, T, SOURCE_FEATURES or CUES], see :func:`source_features`.
            noise: [B, T, 2 BANDS], standard normal; zeros for a generator.
            speaker: from :meth:`prepare`, with one time for each Euler step.
            state: left as it was, made for as many steps.

        Returns:
            [B, 2 T, BANDS] log amplitudes relative to the speech level.
        """
        h, mean, trunk = self.trunk(content, features, speaker, state)
        steps = len(state.flow)
        x, kept = noise, []
        for modulations, caches in zip(speaker.flow, state.flow, strict=True):
            velocity, new = self.flow.stream(x, h, modulations, caches)
            x = x + velocity / steps
            kept.append(new)
        detail = x * self.detail if steps else torch.zeros_like(mean)
        out = restore(mean + detail).reshape(x.shape[0], -1, BANDS)
        return out, AcousticState(trunk, tuple(kept))
