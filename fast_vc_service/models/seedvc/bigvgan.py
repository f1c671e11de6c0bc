"""BigVGAN v2 vocoder: up-sampling with anti-aliased periodic activations (``small``, ``base``)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.models.checkpoint import Table

_KERNELS = (3, 7, 11)
_DILATIONS = (1, 3, 5)
_TAPS = 12
_CUTOFF, _HALF_WIDTH = 0.25, 0.3
_ACTIVATION_REACH = 6  # samples to each side that an activation mixes in


@dataclass(frozen=True)
class BigVganConfig:
    """Sizes of a BigVGAN.

    Attributes:
        mels: Mel bins.
        rates: Up-sampling of each stage.
        kernels: Kernel of each stage's up-sampling.
        width: Channels before the first stage; each stage halves them.
    """

    mels: int
    rates: tuple[int, ...]
    kernels: tuple[int, ...]
    width: int = 1536

    @property
    def hop(self) -> int:
        """Samples a mel frame."""
        return prod(self.rates)

    @property
    def receptive(self) -> int:
        """Mel frames to each side on which a frame's samples depend, rounded up."""
        return ceil(3.0 + self.reach(0))

    def reach(self, stage: int) -> float:
        """Mel frames to each side of the input of ``stage`` on which a frame's samples depend."""
        # One block: its widest convolutions and two activations for each pair of them.
        block = sum(_KERNELS[-1] // 2 * (d + 1) for d in _DILATIONS)
        block += 2 * len(_DILATIONS) * _ACTIVATION_REACH
        frames, rate = 0.0, prod(self.rates[:stage])
        for stage_rate in self.rates[stage:]:
            frames += 1 / rate  # a transposed convolution reads one sample to each side
            rate *= stage_rate
            frames += block / rate
        return frames + (_ACTIVATION_REACH + 3) / rate


BIGVGAN_22K = BigVganConfig(80, rates=(4, 4, 2, 2, 2, 2), kernels=(8, 8, 4, 4, 4, 4))
BIGVGAN_44K = BigVganConfig(128, rates=(8, 4, 2, 2, 2, 2), kernels=(16, 8, 4, 4, 4, 4))

TABLE = Table(
    "BigVGAN",
    {
        "conv_pre": "first",
        "ups.{i}.0": "ups.{i}",
        "resblocks.{i}.convs1.{k}": "blocks.{i}.dilated.{k}",
        "resblocks.{i}.convs2.{k}": "blocks.{i}.plain.{k}",
        "resblocks.{i}.activations.{k}.act": "blocks.{i}.activations.{k}",
        "activation_post.act": "activation",
        "conv_post": "last",
    },
    # The same filter everywhere: it is computed.
    unused=(
        "resblocks.{i}.activations.{k}.upsample.filter",
        "resblocks.{i}.activations.{k}.downsample.lowpass.filter",
        "activation_post.upsample.filter",
        "activation_post.downsample.lowpass.filter",
    ),
)


class Activation(nn.Module):
    """SnakeBeta at twice the rate, so that the harmonics it makes do not alias.

    ``x + sin^2(a x) / b`` with ``alpha = ln a`` and ``beta = ln b`` a channel.
    """

    frequency: Tensor
    scale: Tensor
    up: Tensor
    down: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        taps = _each(torch.from_numpy(low_pass()), channels)
        self.register_buffer("up", 2 * taps, persistent=False)
        self.register_buffer("down", taps, persistent=False)
        for name in ("frequency", "scale"):
            self.register_buffer(name, torch.zeros(channels, 1), persistent=False)
        _derive(self)
        self.register_load_state_dict_post_hook(_derive)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``[B, channels, T]``."""
        h = upsampled(x, self.up)
        h = torch.addcmul(h, torch.sin(h * self.frequency).square(), self.scale)
        padded = functional.pad(h, (_TAPS // 2 - 1, _TAPS // 2), "replicate")
        return functional.conv1d(padded, self.down, stride=2, groups=x.shape[1])


@torch.no_grad()
def _derive(activation: nn.Module, _keys: object = None) -> None:
    """Compute what follows from the parameters: once they are loaded, not in each step."""
    assert isinstance(activation, Activation)  # noqa: S101 - for the type checker
    activation.frequency = torch.exp(activation.alpha)[:, None]
    activation.scale = 1.0 / (torch.exp(activation.beta)[:, None] + 1e-9)


class _Block(nn.Module):
    """Three residual pairs of convolutions, the first of a pair dilated by 1, 3, 5."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2 * d, dilation=d)
            for d in _DILATIONS
        )
        self.plain = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2) for _ in _DILATIONS
        )
        self.activations = nn.ModuleList(Activation(channels) for _ in 2 * _DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        for k in range(len(_DILATIONS)):
            h = self.dilated[k](self.activations[2 * k](x))
            x = x + self.plain[k](self.activations[2 * k + 1](h))
        return x


class BigVgan(nn.Module):
    """Mel to waveform."""

    def __init__(self, config: BigVganConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Conv1d(config.mels, config.width, 7, padding=3)
        self.ups = nn.ModuleList()
        self.blocks = nn.ModuleList()
        width = config.width
        for rate, kernel in zip(config.rates, config.kernels, strict=True):
            self.ups.append(
                nn.ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2)
            )
            width //= 2
            self.blocks.extend(_Block(width, block_kernel) for block_kernel in _KERNELS)
        self.activation = Activation(width)
        self.last = nn.Conv1d(width, 1, 7, padding=3, bias=False)

    def forward(self, mel: Tensor, kept: int | None = None) -> Tensor:
        """Vocode the newest ``kept`` frames of a mel; None is all of them.

        What only older frames need is dropped before each stage, so the later ones, whose reach
        is shorter, work on little more than what is kept.

        Args:
            mel: ``[B, mels, T]``; samples are those of the whole mel if T is at least
                ``kept + config.receptive``.
            kept: Frames.

        Returns:
            ``[B, kept * hop]`` within ±1.
        """
        kept = mel.shape[2] if kept is None else kept
        x = self.first(mel)
        rate = 1
        for stage, up in enumerate(self.ups):
            needed = kept * rate + ceil(self.config.reach(stage) * rate)
            x = up(x[:, :, max(0, x.shape[2] - needed) :])
            rate *= self.config.rates[stage]
            kernels = len(_KERNELS)
            outs = [block(x) for block in self.blocks[stage * kernels : (stage + 1) * kernels]]
            x = torch.stack(outs).mean(dim=0)
        wave: Tensor = self.last(self.activation(x))[:, 0, x.shape[2] - kept * rate :]
        return wave.clamp(-1.0, 1.0)


def upsampled(x: Tensor, filters: Tensor) -> Tensor:
    """Double the rate of ``[B, channels, T]`` by ``filters`` ``[channels, 1, taps]``."""
    padded = functional.pad(x, (5, 5), "replicate")
    doubled = functional.conv_transpose1d(padded, filters, stride=2, groups=x.shape[1])
    return doubled[:, :, 15:-15]


def low_pass() -> npt.NDArray[np.float32]:
    """Return the 12 taps of the Kaiser-windowed sinc both ways share."""
    attenuation = 2.285 * (_TAPS // 2 - 1) * np.pi * 4 * _HALF_WIDTH + 7.95
    beta = 0.1102 * (attenuation - 8.7)
    places = np.arange(_TAPS) - (_TAPS - 1) / 2
    taps = np.kaiser(_TAPS, beta) * 2 * _CUTOFF * np.sinc(2 * _CUTOFF * places)
    return np.asarray(taps / taps.sum(), np.float32)


def _each(taps: Tensor, channels: int) -> Tensor:
    """The same filter for every channel: ``[channels, 1, taps]``."""
    return taps.expand(channels, 1, -1).contiguous()
