"""Length regulator: content features at the encoder's rate become a condition a mel frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.models.checkpoint import Table
from fast_vc_service.models.seedvc.f0 import f0_bins

_BLOCKS = 4


@dataclass(frozen=True)
class RegulatorConfig:
    """Sizes of a length regulator.

    Attributes:
        content: Channels of the content encoder.
        channels: Channels of the condition.
        f0_bins: Rows of the F0 embedding; 0 for a preset without F0.
    """

    content: int
    channels: int
    f0_bins: int = 0


TABLE = Table(
    "length regulator",
    {
        "content_in_proj": "content",
        "model.0": "blocks.0.0",
        "model.1": "blocks.0.1",
        "model.3": "blocks.1.0",
        "model.4": "blocks.1.1",
        "model.6": "blocks.2.0",
        "model.7": "blocks.2.1",
        "model.9": "blocks.3.0",
        "model.10": "blocks.3.1",
        "model.12": "out",
        "f0_embedding": "f0",
        "f0_mask": "no_f0",
    },
    unused=("mask_token", "embedding"),
)


class LengthRegulator(nn.Module):
    """Projects, stretches to the mel's frames, adds F0, and smooths by four convolutions."""

    def __init__(self, config: RegulatorConfig) -> None:
        super().__init__()
        channels = config.channels
        self.config = config
        self.content = nn.Linear(config.content, channels)
        self.blocks = nn.ModuleList(
            # One group: the statistics are those of the whole segment, padding included.
            nn.Sequential(
                nn.Conv1d(channels, channels, 3, padding=1),
                nn.GroupNorm(1, channels),
                nn.Mish(),
            )
            for _ in range(_BLOCKS)
        )
        self.out = nn.Conv1d(channels, channels, 1)
        if config.f0_bins:
            self.f0 = nn.Embedding(config.f0_bins, channels)
            self.no_f0 = nn.Parameter(torch.zeros(1, channels))

    def forward(self, content: Tensor, lengths: Tensor, f0_hz: Tensor | None = None) -> Tensor:
        """Condition of the mel frames.

        Args:
            content: ``[B, frames, content]``.
            lengths: ``[B]`` mel frames wanted; best on the CPU, where reading them waits for
                nothing.
            f0_hz: ``[B, any length]`` in Hz for a network with F0; None where it is not known.

        Returns:
            ``[B, max(lengths), channels]``, zero past a row's length.
        """
        frames = int(lengths.max())
        h = self.content(content)
        h = h[:, nearest_index(h.shape[1], frames, h.device)].transpose(1, 2)
        if self.config.f0_bins:
            if f0_hz is None:
                pitch = self.no_f0[:, :, None]
            else:
                index = f0_bins(f0_hz, self.config.f0_bins)
                index = index[:, nearest_index(index.shape[1], frames, index.device)]
                pitch = self.f0(index).transpose(1, 2)
            h = h + pitch
        for block in self.blocks:
            h = block(h)
        out: Tensor = self.out(h).transpose(1, 2)
        if int(lengths.min()) == frames:
            return out
        valid = torch.arange(frames, device=lengths.device) < lengths[:, None]
        return out * valid[:, :, None].to(h.device)


@lru_cache(maxsize=256)
def nearest_index(frames_in: int, frames_out: int, device: torch.device) -> Tensor:
    """Return which input frame each of ``frames_out`` frames takes: ``[frames_out]``.

    The positions are float32, as in the published system: rounding decides some frames.
    """
    places = torch.arange(frames_in, dtype=torch.float32)[None, None]
    taken = functional.interpolate(places, size=frames_out, mode="nearest")[0, 0]
    return taken.long().to(device)
