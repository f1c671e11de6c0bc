"""What the vocoder's filters are driven by: band-limited pulses and noise, both of unit power.

Pulses carry their phase from call to call; noise is a function of (seed, absolute frame), so any
chunking of a session hears the same.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from fast_vc_service.models.nano.envelope import HOP_SAMPLES, SAMPLE_RATE_HZ

_UINT64 = 1 << 64


def pulses(f0_before: Tensor, f0_hz: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
    """Pulse trains between the middles of hops.

    Args:
        f0_before: [B], Hz at the middle of the hop before the first.
        f0_hz: [B, T], Hz at the middle of each hop; never 0.
        phase: [B] float64, cycles reached at the middle of the hop before.

    Returns:
        [B, HOP_SAMPLES * T] from the middle of that hop to the middle of the last, and the phase
        there (within one cycle).
    """
    ends = torch.cat([f0_before[:, None], f0_hz], 1).double()
    part = torch.arange(1, HOP_SAMPLES + 1, device=f0_hz.device) / HOP_SAMPLES
    f0 = ends[:, :-1, None] + (ends[:, 1:] - ends[:, :-1])[:, :, None] * part
    f0 = f0.reshape(f0.shape[0], -1)
    cycles = phase[:, None] + torch.cumsum(f0 / SAMPLE_RATE_HZ, 1)
    # A sum of n cosines of equal amplitude, in closed form; n fades in and out as F0 glides.
    harmonics = SAMPLE_RATE_HZ / 2 / f0 - 1  # the one that fades stays below Nyquist, too
    whole = torch.floor(harmonics)
    angle = math.pi * (cycles - torch.round(cycles))
    sine = torch.sin(angle)
    near = sine.abs() < 1e-6
    kernel = torch.sin((2 * whole + 1) * angle) / torch.where(near, torch.ones_like(sine), sine)
    kernel = torch.where(near, 2 * whole + 1, kernel)
    last = 2 * (harmonics - whole) * torch.cos(2 * (whole + 1) * angle)
    train = (kernel - 1 + last) / torch.sqrt(2 * harmonics)
    return train.to(f0_hz.dtype), torch.frac(cycles[:, -1])


def noise(seed: int, frame: int, frames: int) -> Tensor:
    """White noise of unit variance [HOP_SAMPLES * frames] from an absolute frame on."""
    draws = [
        np.random.Philox(key=[seed % _UINT64, number % _UINT64]).random_raw(HOP_SAMPLES)
        for number in range(frame, frame + frames)
    ]
    uniform = np.concatenate(draws).astype(np.float64) / _UINT64
    return torch.from_numpy((math.sqrt(12) * (uniform - 0.5)).astype(np.float32))
