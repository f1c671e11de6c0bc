"""Content encoder: what is said, without who says it.

Log-mel frames (10 ms) are taken in pairs; everything behind runs at 50 frames a second. What leaves
the encoder is a narrow bottleneck. It either feeds a classifier of phones, so that it carries
phonetic content and little of the speaker, or it is itself what the encoder learned to predict: the
features of a teacher that hears both sides (``training/teacher.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fast_vc_service.models.nano.layers import ConvBlock
from fast_vc_service.models.nano.spectrum import MELS

MELS_PER_FRAME = 2
FRAME_S = 0.02


@dataclass(frozen=True)
class ContentConfig:
    """Sizes of the encoder.

    ``right_frames`` of the blocks look one frame (20 ms) ahead each. With no ``phones`` there is no
    classifier; ``normalised`` says whether the bottleneck is layer-normed.
    """

    phones: int
    width: int = 256
    blocks: int = 8
    kernel: int = 7
    right_frames: int = 3
    bottleneck: int = 96
    normalised: bool = True


@dataclass(frozen=True)
class ContentState:
    """What a session keeps between steps.

    Attributes:
        caches: one a layer, [B, frames, channels].
        frames: [B], 20 ms frames taken in so far.
    """

    caches: tuple[Tensor, ...]
    frames: Tensor


@dataclass(frozen=True)
class ContentFrames:
    """The encoder's answer for T frames of 20 ms.

    Attributes:
        bottleneck: [B, T, bottleneck].
        phones: [B, T, phones] logits.
    """

    bottleneck: Tensor
    phones: Tensor

    def float(self) -> ContentFrames:
        """The same in float32."""
        return ContentFrames(self.bottleneck.float(), self.phones.float())


class ContentEncoder(nn.Module):
    """See the module's description."""

    def __init__(self, config: ContentConfig) -> None:
        super().__init__()
        self.config = config
        self._stem_cache = 2
        self.stem = nn.Conv1d(MELS_PER_FRAME * MELS, config.width, self._stem_cache + 1)
        # Look-ahead early, so that the deeper blocks can work with it.
        self.blocks = nn.ModuleList(
            ConvBlock(config.width, config.kernel, int(index < config.right_frames))
            for index in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.width)
        self.to_bottleneck = nn.Linear(config.width, config.bottleneck)
        self.bottleneck_norm = (
            nn.LayerNorm(config.bottleneck, elementwise_affine=False)
            if config.normalised
            else nn.Identity()
        )
        self.to_phones = nn.Linear(config.bottleneck, config.phones) if config.phones else None

    @property
    def delay_frames(self) -> int:
        """Frames of 20 ms by which :meth:`stream` lags behind its input."""
        return self.config.right_frames

    def _pairs(self, mel: Tensor) -> Tensor:
        batch, frames, _ = mel.shape
        normalised = (mel + 7.0) / 3.0
        return normalised.reshape(batch, frames // MELS_PER_FRAME, -1)

    def _heads(self, h: Tensor) -> ContentFrames:
        h = self.norm(h)
        bottleneck = self.bottleneck_norm(self.to_bottleneck(h))
        phones = bottleneck[..., :0] if self.to_phones is None else self.to_phones(bottleneck)
        return ContentFrames(bottleneck, phones)

    def forward(self, mel: Tensor) -> ContentFrames:
        """All of a clip at once.

        Args:
            mel: [B, 2 T, MELS] log-mel frames.
        """
        pairs = nn.functional.pad(self._pairs(mel), (0, 0, self._stem_cache, 0))
        h = self.stem(pairs.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            h = block(h)
        return self._heads(h)

    def new_state(self, batch: int, device: torch.device | None = None) -> ContentState:
        """The state of ``batch`` sessions that have heard nothing."""
        channels = MELS_PER_FRAME * MELS
        caches = [torch.zeros(batch, self._stem_cache, channels, device=device)]
        caches += [
            torch.zeros(batch, block.cache_frames, self.config.width, device=device)
            for block in self.blocks
            if isinstance(block, ConvBlock)
        ]
        return ContentState(tuple(caches), torch.zeros(batch, dtype=torch.long, device=device))

    def stream(self, mel: Tensor, state: ContentState) -> tuple[ContentFrames, ContentState]:
        """The next 2 n log-mel frames [B, 2 n, MELS] of each session.

        Returns:
            n frames that lie ``delay_frames`` behind the input, and the new state (the old one is
            left as it was). Frames before the start of the session carry no meaning.
        """
        pairs = self._pairs(mel)
        joined = torch.cat([state.caches[0], pairs], dim=1)
        caches = [joined[:, joined.shape[1] - self._stem_cache :]]
        h = self.stem(joined.transpose(1, 2)).transpose(1, 2)
        first = state.frames
        for block, cache in zip(self.blocks, state.caches[1:], strict=True):
            assert isinstance(block, ConvBlock)  # noqa: S101 - for the type checker
            h, kept = block.stream(h, cache, first)
            first = first - block.right
            caches.append(kept)
        frames = state.frames + pairs.shape[1]
        return self._heads(h), ContentState(tuple(caches), frames)
