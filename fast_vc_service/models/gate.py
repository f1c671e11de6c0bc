"""Silence gate: nothing is heard where nobody speaks, whatever a model makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fast_vc_service.contract import FloatArray
from fast_vc_service.models.host_copies import to_host
from fast_vc_service.models.silero.vad import CHUNK

_THRESHOLD = 0.5
_PRE_ROLL = 1  # chunks before speech that are let through: an onset begins softly
_RAMP = 160  # samples (10 ms) from shut to open


def gains(
    vad: Callable[[Tensor], Tensor], audio: Tensor, positions: Sequence[int], *, hangover_ms: int
) -> FloatArray:
    """Gain of every sample of B windows: 1 around speech, 0 elsewhere, 10 ms in between.

    Chunks lie on multiples of 32 ms of the stream, so that overlapping windows agree. The newest
    64 ms may change with what is heard next: they take the last known value.

    Args:
        vad: A :class:`.SileroVad` on the device of ``audio``, or what does the same.
        audio: ``[B, W]`` at 16 kHz.
        positions: Absolute index of each window's first sample.
        hangover_ms: How long the gate stays open after speech.

    Returns:
        ``[B, W]`` from 0 to 1.
    """
    window = audio.shape[1]
    chunks = (window - CHUNK + 1) // CHUNK
    starts = [-position % CHUNK for position in positions]
    aligned = torch.stack(
        [row[start : start + chunks * CHUNK] for row, start in zip(audio, starts, strict=True)]
    )
    speech = (vad(aligned) >= _THRESHOLD).float()[:, None]
    hangover = -(-hangover_ms * 16 // CHUNK)
    opened = functional.max_pool1d(
        functional.pad(speech, (hangover, _PRE_ROLL)), hangover + 1 + _PRE_ROLL, 1
    )[:, 0]
    stairs = np.repeat(to_host(opened)[0].numpy(), CHUNK, axis=1)
    out = np.empty((len(starts), window), np.float32)
    for row, start in enumerate(starts):
        out[row] = np.pad(stairs[row], (start, window - start - stairs.shape[1]), "edge")
    sums = np.cumsum(np.pad(out, ((0, 0), (_RAMP // 2 + 1, _RAMP // 2 - 1)), "edge"), axis=1)
    smooth: FloatArray = ((sums[:, _RAMP:] - sums[:, :-_RAMP]) / _RAMP).astype(np.float32)
    return np.clip(smooth, 0.0, 1.0)
