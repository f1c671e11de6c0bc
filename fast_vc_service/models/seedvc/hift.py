"""HiFT vocoder: a harmonic source filtered by convolutions, into an inverse STFT (``tiny``)."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.models.checkpoint import Table

SAMPLE_RATE = 22_050
HOP = 256
"""Samples a mel frame."""
HARMONICS = 9
"""Sines of the source: the fundamental and eight above it."""

_MELS = 80
_UP = 8  # each of two up-samplings
_FFT, _FFT_HOP = 16, 4
_BINS = _FFT // 2 + 1
_KERNELS = (3, 7, 11)
_SOURCE_KERNELS = (7, 11)
_DILATIONS = (1, 3, 5)
_AMPLITUDE, _NOISE = 0.1, 0.003
_VOICED_ABOVE_HZ = 10.0
_SLOPE, _LAST_SLOPE = 0.1, 0.01
_MAX_MAGNITUDE = 100.0
_LIMIT = 0.99

RECEPTIVE = 20
"""Mel frames before a frame on which its samples depend, the F0 predictor's included."""

TABLE = Table(
    "HiFT",
    {
        "m_source.l_linear": "source_mix",
        "conv_pre": "first",
        "ups.{i}": "ups.{i}",
        "source_downs.{i}": "source_downs.{i}",
        "source_resblocks.{i}.convs1.{k}": "source_blocks.{i}.dilated.{k}",
        "source_resblocks.{i}.convs2.{k}": "source_blocks.{i}.plain.{k}",
        "source_resblocks.{i}.activations1.{k}": "source_blocks.{i}.before_dilated.{k}",
        "source_resblocks.{i}.activations2.{k}": "source_blocks.{i}.before_plain.{k}",
        "resblocks.{i}.convs1.{k}": "blocks.{i}.dilated.{k}",
        "resblocks.{i}.convs2.{k}": "blocks.{i}.plain.{k}",
        "resblocks.{i}.activations1.{k}": "blocks.{i}.before_dilated.{k}",
        "resblocks.{i}.activations2.{k}": "blocks.{i}.before_plain.{k}",
        "conv_post": "last",
        "f0_predictor.condnet.{k}": "f0_layers.{k}",
        "f0_predictor.classifier": "f0_out",
    },
)


class _Snake(nn.Module):
    """``x + sin^2(alpha x) / alpha`` with one alpha a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha[:, None]
        return x + torch.sin(x * alpha).square() / (alpha + 1e-9)


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
        self.before_dilated = nn.ModuleList(_Snake(channels) for _ in _DILATIONS)
        self.before_plain = nn.ModuleList(_Snake(channels) for _ in _DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        for k in range(len(_DILATIONS)):
            h = self.dilated[k](self.before_dilated[k](x))
            x = x + self.plain[k](self.before_plain[k](h))
        return x


class HiFT(nn.Module):
    """Mel to waveform at 22.05 kHz; phases and noise of the source are given by the caller.

    Args:
        width: Channels before the first up-sampling, which halves them, and of the F0 predictor.
    """

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.f0_layers = nn.Sequential()
        for layer in range(5):
            channels = width if layer else _MELS
            self.f0_layers.append(nn.Conv1d(channels, width, 3, padding=1))
            self.f0_layers.append(nn.ELU())
        self.f0_out = nn.Linear(width, 1)
        self.source_mix = nn.Linear(HARMONICS, 1)

        widths = [width // 2, width // 4]
        self.first = nn.Conv1d(_MELS, width, 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(2 * channels, channels, 2 * _UP, _UP, padding=_UP // 2)
            for channels in widths
        )
        self.source_downs = nn.ModuleList(
            [
                nn.Conv1d(2 * _BINS, widths[0], 2 * _UP, _UP, padding=_UP // 2),
                nn.Conv1d(2 * _BINS, widths[1], 1),
            ]
        )
        self.source_blocks = nn.ModuleList(
            _Block(channels, kernel)
            for channels, kernel in zip(widths, _SOURCE_KERNELS, strict=True)
        )
        self.blocks = nn.ModuleList(
            _Block(channels, kernel) for channels in widths for kernel in _KERNELS
        )
        self.last = nn.Conv1d(widths[-1], 2 * _BINS, 7, padding=3)

    def f0(self, mel: Tensor) -> Tensor:
        """Fundamental frequency ``[B, T]`` in Hz of a mel ``[B, 80, T]``."""
        h = self.f0_layers(mel).transpose(1, 2)
        f0: Tensor = self.f0_out(h)[:, :, 0].abs()
        return f0

    def source(self, f0: Tensor, offsets: Tensor, noise: Tensor) -> Tensor:
        """Harmonic excitation.

        Args:
            f0: ``[B, T]`` in Hz.
            offsets: Phase of each harmonic before the first sample ``[B, 9]``, in radians.
            noise: ``[B, 9, 256 T]``, standard normal.

        Returns:
            ``[B, 256 T]``.
        """
        angles = 2 * math.pi * torch.remainder(cycles(f0), 1.0)
        voiced = (f0.repeat_interleave(HOP, dim=1) > _VOICED_ABOVE_HZ)[:, None]
        sines = _AMPLITUDE * torch.sin(angles + offsets[:, :, None]) * voiced
        level = torch.where(voiced, _NOISE, _AMPLITUDE / 3)
        mixed = self.source_mix((sines + level * noise).transpose(1, 2))
        return torch.tanh(mixed[:, :, 0])

    def forward(self, mel: Tensor, source: Tensor) -> Tensor:
        """Filter the excitation.

        Args:
            mel: ``[B, 80, T]``.
            source: ``[B, 256 T]``.

        Returns:
            ``[B, 256 T]`` within ±0.99.
        """
        return wave(self.spectrum(mel, excitation(source)))

    def spectrum(self, mel: Tensor, excitation: Tensor) -> Tensor:
        """What :func:`wave` makes audio of, from a mel and what :func:`excitation` makes."""
        x = self.first(mel)
        for stage, up in enumerate(self.ups):
            x = up(functional.leaky_relu(x, _SLOPE))
            if stage == len(self.ups) - 1:
                x = functional.pad(x, (1, 0), "reflect")
            x = x + self.source_blocks[stage](self.source_downs[stage](excitation))
            kernels = len(_KERNELS)
            outs = [block(x) for block in self.blocks[stage * kernels : (stage + 1) * kernels]]
            x = torch.stack(outs).mean(dim=0)
        spectrum: Tensor = self.last(functional.leaky_relu(x, _LAST_SLOPE))
        return spectrum


def excitation(source: Tensor) -> Tensor:
    """Real and imaginary part ``[B, 18, frames]`` of the spectra of ``[B, samples]``."""
    spectrum = torch.stft(
        source, _FFT, _FFT_HOP, window=_window(source.device), center=True, return_complex=True
    )
    return torch.cat([spectrum.real, spectrum.imag], dim=1)


def wave(x: Tensor) -> Tensor:
    """Audio ``[B, samples]`` of log magnitudes and phases ``[B, 18, frames]``."""
    magnitude = torch.exp(x[:, :_BINS]).clamp(max=_MAX_MAGNITUDE)
    phase = torch.sin(x[:, _BINS:])
    window = _window(x.device)
    audio = torch.istft(torch.polar(magnitude, phase), _FFT, _FFT_HOP, window=window)
    return audio.clamp(-_LIMIT, _LIMIT)


def cycles(f0: Tensor) -> Tensor:
    """Cycles of each harmonic since before the first sample.

    Rounded to float32 as in the published system, whose long inputs show it.

    Args:
        f0: ``[B, T]`` in Hz.

    Returns:
        ``[B, 9, 256 T]``; each sample's own step is counted in.
    """
    multiples = torch.arange(1, HARMONICS + 1, device=f0.device)[:, None]
    steps = f0.repeat_interleave(HOP, dim=1)[:, None] * multiples / SAMPLE_RATE
    return torch.cumsum(steps, dim=2)


@cache
def _window(device: torch.device) -> Tensor:
    return torch.hann_window(_FFT).to(device)
