"""RMVPE pitch network: F0 of voice, 100 frames a second (``base``).

Wei et al., "RMVPE: A Robust Model for Vocal Pitch Estimation in Polyphonic Music", 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.audio.mel import MelSettings, log_mel
from fast_vc_service.models.checkpoint import Table

MEL = MelSettings(
    16_000,
    window=1024,
    hop=160,
    bins=128,
    low_hz=30.0,
    high_hz=8000.0,
    centred=True,
    htk=True,
    epsilon=0.0,
)

CENTS = 360
"""Bins of 20 cents."""

_FIRST_CENTS = 1997.3794084376191
_THRESHOLD = 0.03
_NEAR = 4  # bins to each side of the best that are averaged
_LEVELS = 5
_BLOCKS = 4
_MULTIPLE = 2**_LEVELS

TABLE = Table(
    "RMVPE",
    {
        "unet.encoder.bn": "norm",
        "unet.encoder.layers.{l}.conv.{k}.conv.{c}": "encoder.{l}.{k}.convs.{c}",
        "unet.encoder.layers.{l}.conv.{k}.shortcut": "encoder.{l}.{k}.shortcut",
        "unet.intermediate.layers.{l}.conv.{k}.conv.{c}": "middle.{l}.{k}.convs.{c}",
        "unet.intermediate.layers.{l}.conv.{k}.shortcut": "middle.{l}.{k}.shortcut",
        "unet.decoder.layers.{l}.conv1.{c}": "ups.{l}.{c}",
        "unet.decoder.layers.{l}.conv2.{k}.conv.{c}": "decoder.{l}.{k}.convs.{c}",
        "unet.decoder.layers.{l}.conv2.{k}.shortcut": "decoder.{l}.{k}.shortcut",
        "cnn": "last",
        "fc.0.gru": "recurrent",
        "fc.1": "out",
    },
)


class _Block(nn.Module):
    """Two 3x3 convolutions, each with norm and ReLU, around a shortcut."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.shortcut: nn.Module = nn.Identity()
        if channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.convs(x) + self.shortcut(x)
        return out


def _blocks(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        *(_Block(channels if k else channels_in, channels) for k in range(_BLOCKS))
    )


class Rmvpe(nn.Module):
    """A U-Net over the mel as an image, then a recurrent layer.

    Args:
        width: Channels of the first level; each level below has twice as many.
        recurrent: Channels of the recurrent layer, each way.
    """

    def __init__(self, width: int = 16, recurrent: int = 256) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(_LEVELS)]
        deepest = 2 * widths[-1]
        self.norm = nn.BatchNorm2d(1)
        self.encoder = nn.ModuleList(
            _blocks(before, channels)
            for before, channels in zip([1, *widths], widths, strict=False)
        )
        self.middle = nn.Sequential(
            _blocks(widths[-1], deepest), *(_blocks(deepest, deepest) for _ in range(3))
        )
        self.ups = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(2 * channels, channels, 3, 2, 1, output_padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            )
            for channels in reversed(widths)
        )
        self.decoder = nn.ModuleList(
            _blocks(2 * channels, channels) for channels in reversed(widths)
        )
        self.last = nn.Conv2d(width, 3, 3, padding=1)
        self.recurrent = nn.GRU(3 * MEL.bins, recurrent, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * recurrent, CENTS)

    def forward(self, mel: Tensor) -> Tensor:
        """Salience of each bin.

        Args:
            mel: ``[B, 128, T]``, of :data:`MEL`.

        Returns:
            ``[B, T, 360]`` from 0 to 1.
        """
        frames = mel.shape[2]
        h = functional.pad(mel, (0, -frames % _MULTIPLE)).transpose(1, 2)[:, None]
        h = self.norm(h)
        skips = []
        for level in self.encoder:
            h = level(h)
            skips.append(h)
            h = functional.avg_pool2d(h, 2)
        h = self.middle(h)
        for up, level in zip(self.ups, self.decoder, strict=True):
            h = level(torch.cat([up(h), skips.pop()], dim=1))
        h = self.last(h).transpose(1, 2).flatten(2)
        h, _ = self.recurrent(h)
        return torch.sigmoid(self.out(h))[:, :frames]

    def f0(self, audio: Tensor) -> Tensor:
        """F0 ``[B, 1 + samples // 160]`` in Hz of ``[B, samples]`` at 16 kHz; 0 is unvoiced."""
        return decoded(self(log_mel(audio, MEL)))


def decoded(salience: Tensor) -> Tensor:
    """F0 in Hz ``[...]`` of a salience ``[..., 360]``: the mean around the best bin, or 0."""
    best = salience.argmax(dim=-1, keepdim=True)
    offsets = torch.arange(-_NEAR, _NEAR + 1, device=salience.device)
    near = functional.pad(salience, (_NEAR, _NEAR)).gather(-1, best + _NEAR + offsets)
    cents = _FIRST_CENTS + 20.0 * (best + offsets)
    mean = (near * cents).sum(dim=-1) / near.sum(dim=-1)
    f0 = 10.0 * 2.0 ** (mean / 1200.0)
    return torch.where(salience.amax(dim=-1) > _THRESHOLD, f0, torch.zeros_like(f0))
