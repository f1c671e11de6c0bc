"""The networks say a reference again in its own voice, which tells what they miss of it.

As in a session, the words must come from the source and the voice from other speech: each stretch
is said without the frames of the reference that lie in it, and is heard with shifted formants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fast_vc_service.models.nano.acoustic import (
    STEP_FRAMES,
    Acoustic,
    Speaker,
    euler_times,
    source_features,
)
from fast_vc_service.models.nano.envelope import BANDS
from fast_vc_service.models.nano.spectrum import warp

STRETCH_FRAMES, CONTEXT_FRAMES, EDGE_FRAMES = 100, 50, 5
FEWEST_FRAMES = 15
WARPS = (0.87, 1.15)


@dataclass(frozen=True)
class Reference:
    """A clip of N frames of 20 ms, as a source.

    Attributes:
        content: [N, content].
        energy, f0, voicing: [2 N] each; energy relative to the speech level.
        mel: [2 N, MELS] relative to the speech level, running ahead as in a session.
        places: frames of the clip that the speaker's memory holds, in its order.
    """

    content: Tensor
    energy: Tensor
    f0: Tensor
    voicing: Tensor
    mel: Tensor
    places: Tensor


def _stretches(x: Tensor, step: int) -> Tensor:
    """[step N, ...] cut into [K, step (CONTEXT + STRETCH), ...] with what came before."""
    frames = len(x) // step
    count = math.ceil(frames / STRETCH_FRAMES)
    after = count * STRETCH_FRAMES - frames
    edges = (0, 0) * (x.ndim - 1)
    padded = functional.pad(x, (*edges, step * CONTEXT_FRAMES, step * after))
    cut = padded.unfold(0, step * (CONTEXT_FRAMES + STRETCH_FRAMES), step * STRETCH_FRAMES)
    return cut.movedim(-1, 1)


def _masks(speaker: Speaker, places: Tensor, count: int) -> Tensor:
    """[count, memory]: what each stretch may borrow from."""
    rows = []
    for index in range(count):
        first = index * STRETCH_FRAMES
        inside = (places >= first - EDGE_FRAMES) & (places < first + STRETCH_FRAMES + EDGE_FRAMES)
        mask = speaker.mask[0].clone()
        mask[: len(places)] &= ~inside
        rows.append(mask if int(mask.sum()) >= FEWEST_FRAMES else speaker.mask[0])
    return torch.stack(rows)


@torch.no_grad()
def measure_correction(
    acoustic: Acoustic, steps: int, speaker: Speaker, reference: Reference
) -> Tensor:
    """Log amplitudes relative to the speech level [2 N, BANDS], the mean over the warps.

    Args:
        acoustic: On the device of the rest.
        steps: Euler steps; their noise is zero here.
        speaker: A batch of one.
        reference: The clip that ``speaker`` was made from.
    """
    cut = [
        _stretches(getattr(reference, name), STEP_FRAMES)
        for name in ("energy", "f0", "voicing", "mel")
    ]
    content = _stretches(reference.content, 1)
    count = len(content)
    masks = _masks(speaker, reference.places, count)
    many = Speaker(
        speaker.vector.expand(count, -1),
        speaker.content.expand(count, -1, -1),
        speaker.envelope.expand(count, -1, -1),
        masks,
    )
    prepared = acoustic.prepare(many, euler_times(steps, count, content.device))
    noise = content.new_zeros(count, content.shape[1], STEP_FRAMES * BANDS)
    total = torch.zeros(())
    hears_mel = acoustic.config.hears_mel
    warps = WARPS if hears_mel else (1.0,)
    for factor in warps:
        energy, f0, voicing, mel = cut
        factors = torch.full((count,), factor, device=mel.device)
        heard = warp(mel, factors) if hears_mel else None
        state = acoustic.new_state(count, steps, content.device)
        cues = source_features(energy, f0, voicing, heard)
        made, _ = acoustic.stream(content, cues, noise, prepared, state)
        total = total + made[:, STEP_FRAMES * CONTEXT_FRAMES :].flatten(0, 1)
    frames = STEP_FRAMES * len(reference.content)
    return (total / len(warps))[:frames]
