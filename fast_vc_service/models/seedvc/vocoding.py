"""The harmonic vocoder on windows that overlap: its phase goes on where the block before ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fast_vc_service.contract import FloatArray
from fast_vc_service.models.host_copies import to_device
from fast_vc_service.models.seedvc import hift
from fast_vc_service.models.seedvc.noise import noise_at


def harmonic_wave(
    vocoder: hift.HiFT,
    mel: Tensor,
    *,
    spectrum: Callable[[Tensor, Tensor], Tensor],
    seeds: Sequence[int],
    carried: Sequence[tuple[float, int | None]],
    ends: Sequence[int],
    joins: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Vocode the newest frames of B windows.

    Args:
        vocoder: The network.
        mel: ``[B, 80, T]``.
        spectrum: :meth:`.HiFT.spectrum` of the network, or what does the same.
        seeds: Choose noise and initial phases.
        carried: Phase of the fundamental in cycles, and the absolute output sample at which it was
            that; None before the first window.
        ends: Absolute output sample at which each window ends.
        joins: Absolute output sample at which the phase is to be carried on.

    Returns:
        ``[B, 256 T]``, and the phase at each join in cycles ``[B]``.
    """
    f0 = vocoder.f0(mel)
    cycles = hift.cycles(f0)[:, 0].double()
    samples = cycles.shape[1]
    offsets, noises = [], []
    for row, (phase, heard) in enumerate(carried):
        begin = ends[row] - samples
        # What the phase was at one place fixes it everywhere.
        place = -1 if heard is None else heard - begin
        known = cycles[row, place - 1] if 0 < place <= samples else cycles.new_zeros(())
        offsets.append(phase - known)
        noises.append(noise_at(seeds[row], begin, samples, hift.HARMONICS))
    start = torch.stack(offsets)
    multiples = torch.arange(1, hift.HARMONICS + 1, device=mel.device)
    fixed = torch.from_numpy(np.stack([_phases(seed) for seed in seeds]))
    turns = torch.remainder(start[:, None] * multiples, 1.0).float()
    phases = to_device(fixed, mel.device) + 2 * math.pi * turns
    noise = to_device(torch.from_numpy(np.stack(noises)), mel.device)
    excitation = hift.excitation(vocoder.source(f0, phases, noise))
    wave = hift.wave(spectrum(mel, excitation))
    at_join = torch.stack(
        [
            torch.remainder(start[row] + cycles[row, join - (end - samples) - 1], 1.0)
            for row, (join, end) in enumerate(zip(joins, ends, strict=True))
        ]
    )
    return wave, at_join


def _phases(seed: int) -> FloatArray:
    """Initial phase of each harmonic in radians; that of the fundamental is 0."""
    phases = np.random.Generator(np.random.PCG64([seed, hift.HARMONICS])).uniform(
        -np.pi, np.pi, hift.HARMONICS
    )
    phases[0] = 0.0
    return phases.astype(np.float32)
