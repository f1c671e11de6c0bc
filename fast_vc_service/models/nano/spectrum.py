"""The encoder's view of sound: log-mel frames every 10 ms, with a low-delay window."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

SAMPLE_RATE_HZ = 16_000
HOP_SAMPLES = 160
WINDOW_SAMPLES = 768
RISE_SAMPLES = 576
"""The window peaks here: 48 ms of history for pitch, yet only 12 ms from its peak to its end."""

HISTORY_SAMPLES = WINDOW_SAMPLES - HOP_SAMPLES
MELS = 80
FLOOR = 1e-5
SILENCE = math.log(FLOOR)

_BREAK_HZ, _LINEAR_HZ_PER_MEL = 1000.0, 200.0 / 3
_LOG_STEP = math.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    linear = hz / _LINEAR_HZ_PER_MEL
    if hz < _BREAK_HZ:
        return linear
    return _BREAK_HZ / _LINEAR_HZ_PER_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def _mel_to_hz(mel: Tensor) -> Tensor:
    corner = _BREAK_HZ / _LINEAR_HZ_PER_MEL
    return torch.where(
        mel < corner, mel * _LINEAR_HZ_PER_MEL, _BREAK_HZ * torch.exp(_LOG_STEP * (mel - corner))
    )


def window() -> Tensor:
    """[WINDOW_SAMPLES], scaled so that a full-scale sine has magnitude 1."""
    rise = torch.hann_window(2 * RISE_SAMPLES)[:RISE_SAMPLES]
    fall_samples = WINDOW_SAMPLES - RISE_SAMPLES
    fall = torch.hann_window(2 * fall_samples)[fall_samples:]
    both = torch.cat([rise, fall])
    return 2 * both / both.sum()


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """Window and mel filters [MELS, bins] (Slaney's scale, unit peak)."""
    bins = torch.fft.rfftfreq(WINDOW_SAMPLES, 1 / SAMPLE_RATE_HZ)
    edges = _mel_to_hz(torch.linspace(0, _hz_to_mel(SAMPLE_RATE_HZ / 2), MELS + 2))
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = torch.minimum(rising, falling).clamp(min=0)
    return window().to(device), filters.to(device)


def log_mel(samples: Tensor, history: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log-mel frames; frame k has heard exactly the samples before (k + 1) hops.

    Args:
        samples: [B, n * HOP_SAMPLES] at 16 kHz, in [-1, 1].
        history: [B, HISTORY_SAMPLES] before them; zeros at the start of a session.

    Returns:
        Frames [B, n, MELS] (natural log of magnitude; a full-scale sine is near 0), and the history
        for the next call.
    """
    if history is None:
        history = samples.new_zeros(samples.shape[0], HISTORY_SAMPLES)
    shape, filters = _constants(samples.device)
    joined = torch.cat([history, samples], dim=1)
    frames = joined.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES) * shape
    power = torch.fft.rfft(frames).abs().square()
    mel = torch.sqrt(power @ filters.T)
    return torch.log(mel + FLOOR), joined[:, joined.shape[1] - HISTORY_SAMPLES :]


def frame_energy(mel: Tensor) -> Tensor:
    """Log amplitude [...] of log-mel frames [..., MELS], all bands together."""
    return 0.5 * torch.logsumexp(2 * mel, -1)


def warp(mel: Tensor, factors: Tensor) -> Tensor:
    """Log-mel frames [B, T, MELS] with all frequencies times ``factors`` [B]: another vocal tract.

    ``factors`` may be [B, MELS], one of each band. Bands that would come from above the highest
    take the highest.
    """
    centres = _mel_to_hz(torch.linspace(0, _hz_to_mel(SAMPLE_RATE_HZ / 2), MELS + 2))[1:-1]
    wanted = centres.to(mel.device) / factors.reshape(len(factors), -1)
    upper = torch.searchsorted(centres.to(mel.device), wanted).clamp(1, MELS - 1)
    low, high = centres.to(mel.device)[upper - 1], centres.to(mel.device)[upper]
    share = ((wanted - low) / (high - low)).clamp(0, 1).to(mel.dtype)[:, None]
    shape = (-1, mel.shape[1], -1)
    below = mel.gather(2, (upper - 1)[:, None].expand(*shape))
    above = mel.gather(2, upper[:, None].expand(*shape))
    return below + share * (above - below)
