"""Kaldi's log-mel filterbank: what speaker encoders in the Kaldi tradition hear."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES = 400
HOP_SAMPLES = 160
BINS = 80

_FFT = 512
_PREEMPHASIS = 0.97
_LOW_HZ, _HIGH_HZ = 20.0, 8000.0
_FLOOR = torch.finfo(torch.float32).eps


def kaldi_fbank(samples: Tensor) -> Tensor:
    """Return Kaldi's log-mel filterbank energies, without dither and without edge frames.

    25 ms frames every 10 ms, offset removed a frame, pre-emphasis 0.97, Povey window, power
    spectrum, triangles of height one from 20 Hz to 8 kHz, natural logarithm.

    Args:
        samples: ``[samples]`` at 16 kHz, in [-1, 1].

    Returns:
        ``[frames, 80]`` with ``1 + (samples - 400) // 160`` frames.

    Raises:
        ValueError: Fewer samples than one frame.
    """
    if samples.ndim != 1 or samples.shape[0] < FRAME_SAMPLES:
        raise ValueError(
            f"expected [samples] with at least {FRAME_SAMPLES} samples, got {list(samples.shape)}"
        )
    frames = samples.to(torch.float32).unfold(0, FRAME_SAMPLES, HOP_SAMPLES)
    frames = frames - frames.mean(dim=1, keepdim=True)
    previous = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    window, filters = _constants(samples.device)
    spectrum = torch.fft.rfft((frames - _PREEMPHASIS * previous) * window, n=_FFT)
    return torch.log((spectrum.abs().square() @ filters).clamp(min=_FLOOR))


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """Povey window ``[400]`` and mel triangles ``[257, 80]``, straight on the mel axis."""
    window = torch.hann_window(FRAME_SAMPLES, periodic=False, dtype=torch.float64) ** 0.85
    edges_hz = torch.tensor([_LOW_HZ, _HIGH_HZ], dtype=torch.float64)
    low, high = _mel(edges_hz).tolist()
    edges = torch.linspace(low, high, BINS + 2, dtype=torch.float64)
    places = _mel(torch.arange(_FFT // 2 + 1, dtype=torch.float64) * (SAMPLE_RATE_HZ / _FFT))
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (places[:, None] - left) / (centre - left)
    falling = (right - places[:, None]) / (right - centre)
    filters = torch.minimum(rising, falling).clamp(min=0.0)
    return window.float().to(device), filters.float().to(device)


def _mel(hz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hz / 700.0)
