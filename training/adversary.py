"""A judge of envelopes: are these patches a person's, and this speaker's?

Least squares on patches (Mao et al. 2017), a projection by the speaker (Miyato & Koyama 2018), and
feature matching (Larsen et al. 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.models.nano.acoustic import GLOBAL
from fast_vc_service.models.nano.envelope import BANDS_BELOW_7K6

CROP_FRAMES = 64
"""Envelope frames (10 ms) of what is judged at once; of the bands those below 7.6 kHz."""

_CHANNELS = (24, 48, 96, 96)
_KERNELS = (5, 5, 3, 3)
_STRIDES = ((1, 2), (2, 2), (2, 2), (1, 1))


class Discriminator(nn.Module):
    """Patches of normalised envelopes [B, CROP_FRAMES, bands] to a score each."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (1, *_CHANNELS)
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, kernel, stride, padding=kernel // 2)
            for before, after, kernel, stride in zip(
                sizes[:-1], _CHANNELS, _KERNELS, _STRIDES, strict=True
            )
        )
        self.score = nn.Conv2d(sizes[-1], 1, 3, padding=1)
        self.of_speaker = nn.Linear(GLOBAL, sizes[-1])

    def forward(self, envelope: Tensor, speaker: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores [B, T', F'] (1: real) and the features of each layer.

        Args:
            envelope: [B, CROP_FRAMES, BANDS_BELOW_7K6], normalised.
            speaker: [B, GLOBAL].
        """
        x, features = envelope[:, None], []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.1)
            features.append(x)
        projected = (x * self.of_speaker(speaker)[:, :, None, None]).mean(1)
        return self.score(x)[:, 0] + projected, features


def crops(envelopes: list[Tensor], valid: Tensor, rng: torch.Generator) -> list[Tensor]:
    """The same random CROP_FRAMES of each of the envelopes [B, 2 T, BANDS], inside ``valid``.

    Args:
        envelopes: to be cut alike.
        valid: [B, T], where there is speech.
        rng: on the CPU.
    """
    frames = envelopes[0].shape[1]
    room = (2 * valid.sum(1).cpu() - CROP_FRAMES).clamp(0, frames - CROP_FRAMES)
    starts = (torch.rand(len(room), generator=rng) * (room + 1)).long()
    index = (starts[:, None] + torch.arange(CROP_FRAMES)).to(envelopes[0].device)
    wide = index[..., None].expand(-1, -1, BANDS_BELOW_7K6)
    return [each[..., :BANDS_BELOW_7K6].gather(1, wide) for each in envelopes]


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Least squares: scores of real patches to 1, of made ones to 0."""
    return (real - 1).square().mean() + made.square().mean()


def generator_losses(
    made: tuple[Tensor, list[Tensor]], real: tuple[Tensor, list[Tensor]]
) -> tuple[Tensor, Tensor]:
    """How far the scores of made patches are from 1, and how far features are from real ones.

    The latter relative to the size of the real features.
    """
    matching = torch.stack(
        [
            (ours - theirs.detach()).abs().mean() / theirs.detach().abs().mean().clamp(min=1e-3)
            for ours, theirs in zip(made[1], real[1], strict=True)
        ]
    )
    return (made[0] - 1).square().mean(), matching.mean()
