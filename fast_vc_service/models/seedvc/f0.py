"""Fundamental frequency as the networks want it: bins, and tracks moved to another register."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MIN_HZ, _MAX_HZ = 50.0, 1100.0
_UNVOICED_HZ = 1e-5
_VOICED_ABOVE_HZ = 1.0


def f0_bins(f0_hz: Tensor, bins: int) -> Tensor:
    """Return the embedding index of each frame; unvoiced (0 Hz) is 1.

    The networks were trained with everything above about 1100 Hz in bin 0, so it goes there.

    Args:
        f0_hz: Any shape, in Hz.
        bins: Rows of the embedding.

    Returns:
        Whole numbers from 0 to ``bins - 1``, of the same shape.
    """
    scale = (bins - 2) / (_mel(_MAX_HZ) - _mel(_MIN_HZ))
    offset = _mel(_MIN_HZ) * scale - 1.0
    mel = 1127.0 * torch.log(1.0 + f0_hz / 700.0)
    value = torch.where(mel > 0, mel * scale - offset, mel)
    index = torch.round(value).long()
    index = torch.where(index < 1, torch.ones_like(index), index)
    return torch.where(index >= bins, torch.zeros_like(index), index)


def shifted(f0_hz: Tensor, semitones: float = 0.0, log_offset: float | Tensor = 0.0) -> Tensor:
    """Move the voiced frames by ``semitones`` and a natural-log ``log_offset``.

    Args:
        f0_hz: ``[..., T]`` in Hz, 0 where unvoiced.
        semitones: Up or down.
        log_offset: What :func:`register_offset` gives, or another; one for all or one a row.

    Returns:
        ``[..., T]`` in Hz; unvoiced frames become 1e-5 Hz.
    """
    log_f0 = torch.log(f0_hz + _UNVOICED_HZ)
    moved = torch.exp(log_f0 + log_offset) * 2.0 ** (semitones / 12.0)
    return torch.where(f0_hz > _VOICED_ABOVE_HZ, moved, torch.exp(log_f0))


def register_offset(source_hz: Tensor, reference_hz: Tensor) -> float:
    """Return the natural-log distance from the source's median F0 to the reference's.

    Returns:
        0 where one of them has no voiced frame.
    """
    medians = []
    for track in (source_hz, reference_hz):
        voiced = track[track > _VOICED_ABOVE_HZ]
        if not voiced.numel():
            return 0.0
        # torch.median: the lower middle of an even count, as the published system takes it.
        medians.append(float(torch.log(voiced + _UNVOICED_HZ).median()))
    return medians[1] - medians[0]


def _mel(hz: float) -> float:
    return 1127.0 * math.log(1.0 + hz / 700.0)
