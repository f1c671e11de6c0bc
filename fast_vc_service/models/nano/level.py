"""How loud somebody speaks, so that the networks hear one level and the output keeps the source's.

All of it is learned from voiced frames of 10 ms, the older the less: silence and noise teach
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fast_vc_service.models.nano import envelope, spectrum, vocoder

NEUTRAL = -2.8
"""Log energy (:func:`spectrum.frame_energy`) of voiced frames assumed until some were heard."""

_LEVEL_FRAMES, _MATCH_FRAMES = 800.0, 200.0
"""Voiced frames that are remembered of how loud the source is, and of how much louder the output
is than it: that changes as the networks learn who speaks.
"""

_PRIOR_FRAMES = 5.0
"""Voiced frames that the neutral level weighs as much as, and what one voice tells of another."""

_DOUBTED_FRAMES = 6.0
"""Voiced frames from which on the gain is believed; of noise now and then a frame is voiced."""

_MOST_GAIN = 2.3  # nepers, 20 dB
_TINY = 1e-12

_HALF = spectrum.HOP_SAMPLES // 2
_LATE_HALVES = 2 * vocoder.DELAY_SAMPLES // envelope.HOP_SAMPLES


@dataclass(frozen=True)
class LevelState:
    """What a session remembers of loudness, [B] each but for the last two.

    Attributes:
        voiced: Voiced frames of the source, older ones fading.
        energy: Sum of their log energies.
        matched: Voiced frames of the output, older ones fading.
        heard, said: Sums of the power of the source and of the output in them.
        gain: Logarithm of the gain of the newest sample of the output.
        late: [B, halves], power of 5 ms pieces of the source whose output is still to come.
        late_voiced: [B, frames], of the newest frames, whose output is still to come.
    """

    voiced: Tensor
    energy: Tensor
    matched: Tensor
    heard: Tensor
    said: Tensor
    gain: Tensor
    late: Tensor
    late_voiced: Tensor


def new_state(delay_frames: int, device: torch.device) -> LevelState:
    """The state [1] of a session that has heard nothing.

    Args:
        delay_frames: Frames of 10 ms by which the networks before the vocoder trail the source.
        device: Where it is kept.
    """
    nothing = torch.zeros(1, device=device)
    return LevelState(
        voiced=nothing,
        energy=nothing,
        matched=nothing,
        heard=nothing,
        said=nothing,
        gain=nothing,
        late=torch.zeros(1, 2 * delay_frames + _LATE_HALVES, device=device),
        late_voiced=torch.zeros(1, -(-_LATE_HALVES // 2), device=device),
    )


def interrupted(state: LevelState) -> LevelState:
    """The state after a gap: what was still to come is lost, what was learned is not."""
    return replace(
        state,
        late=torch.zeros_like(state.late),
        late_voiced=torch.zeros_like(state.late_voiced),
    )


def of_another_voice(state: LevelState) -> LevelState:
    """The state where the voice changes: what was said says little of what will be."""
    share = _PRIOR_FRAMES / state.matched.clamp(min=_PRIOR_FRAMES)
    return replace(
        state,
        matched=state.matched * share,
        heard=state.heard * share,
        said=state.said * share,
    )


def follow(state: LevelState, energy: Tensor, voiced: Tensor) -> tuple[Tensor, LevelState]:
    """Learn the speech level from the next frames.

    Args:
        state: Not changed.
        energy: [B, n] log energy.
        voiced: [B, n] bool.

    Returns:
        Speech level [B, 1] after them, as log energy, and the new state.
    """
    counts, total = (
        _faded(values, voiced, before, _LEVEL_FRAMES)[:, -1]
        for values, before in ((voiced.float(), state.voiced), (energy, state.energy))
    )
    level = (total + _PRIOR_FRAMES * NEUTRAL) / (counts + _PRIOR_FRAMES)
    return level[:, None], replace(state, voiced=counts, energy=total)


def match(
    state: LevelState, samples: Tensor, voiced: Tensor, speech: Tensor
) -> tuple[Tensor, LevelState]:
    """Make speech as loud as the source: by its power over the voiced frames so far.

    Args:
        state: Not changed.
        samples: [B, n * spectrum.HOP_SAMPLES], the newest of the source.
        voiced: [B, n] bool, of the frames that the vocoder took in last.
        speech: [B, n * envelope.HOP_SAMPLES], what it made of those before.

    Returns:
        ``speech`` at its level, and the new state.
    """
    frames = voiced.shape[1]
    halves = torch.cat([state.late, _power(samples, _HALF)], 1)
    flags = torch.cat([state.late_voiced, voiced.float()], 1)
    heard = halves[:, : 2 * frames].reshape(-1, frames, 2).mean(-1)
    said = _power(speech, envelope.HOP_SAMPLES)
    # The vocoder's delay is no whole number of frames: both that a frame touches are voiced.
    both = (flags[:, :frames] > 0) & (flags[:, 1 : frames + 1] > 0)
    counts, total_heard, total_said = (
        _faded(values, both, past, _MATCH_FRAMES)
        for values, past in (
            (both.float(), state.matched),
            (heard, state.heard),
            (said, state.said),
        )
    )
    ratio = 0.5 * torch.log((total_heard + _TINY) / (total_said + _TINY))
    ratio = ratio.clamp(-_MOST_GAIN, _MOST_GAIN)
    gains = ratio * counts.square() / (counts.square() + _DOUBTED_FRAMES**2)
    before = torch.cat([state.gain[:, None], gains[:, :-1]], 1)
    rise = torch.arange(1, envelope.HOP_SAMPLES + 1, device=speech.device) / envelope.HOP_SAMPLES
    curve = before[..., None] + (gains - before)[..., None] * rise
    new = replace(
        state,
        matched=counts[:, -1],
        heard=total_heard[:, -1],
        said=total_said[:, -1],
        gain=gains[:, -1],
        late=halves[:, 2 * frames :],
        late_voiced=flags[:, frames:],
    )
    return speech * torch.exp(curve).flatten(1), new


def _power(samples: Tensor, size: int) -> Tensor:
    """Mean square [B, n] of each ``size`` samples [B, n * size]."""
    return samples.square().reshape(len(samples), -1, size).mean(-1)


def _faded(values: Tensor, counted: Tensor, before: Tensor, memory_frames: float) -> Tensor:
    """Sums [B, n] of the counted ones of ``values`` [B, n] after ``before`` [B].

    Each counted value makes those before it weigh less: by a factor e after ``memory_frames``.
    """
    passed = torch.cumsum(counted.float(), 1) / memory_frames
    age = passed[:, :, None] - passed[:, None, :]
    weights = torch.tril(torch.exp(-age) * counted[:, None, :])
    fresh = (weights * values[:, None, :]).sum(-1)
    return before[:, None] * torch.exp(-passed) + fresh
