"""Flow-matching sampler: Euler steps from noise to mel, with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fast_vc_service.models.seedvc.dit import Conditioning, DiT


class Sampler:
    """Samples with a fixed number of steps, for which all of the flow time's part is kept.

    Args:
        dit: The velocity estimator, in eval mode on its device.
        steps: Euler steps.
        guidance: Weight of the difference to the unconditional velocity; 0 leaves it out.

    Raises:
        ValueError: Fewer than one step, or a negative guidance.
    """

    def __init__(self, dit: DiT, steps: int, guidance: float) -> None:
        if steps < 1 or guidance < 0:
            raise ValueError(f"expected steps >= 1 and guidance >= 0, got {steps} and {guidance}")
        self._dit = dit
        self._steps = steps
        self._guidance = guidance
        times = torch.arange(steps, device=dit.frequencies.device) / steps
        with torch.no_grad():
            self._modulations = [dit.modulation(time[None]) for time in times]

    def __call__(self, noise: Tensor, condition: Conditioning) -> Tensor:
        """Sample the frames that follow the prompt.

        Args:
            noise: ``[B, mels, N]``, standard normal.
            condition: Of T frames, the last N of which are sampled and the rest the prompt's.

        Returns:
            Mel ``[B, mels, N]``.
        """
        x = noise
        if self._guidance:
            condition = stacked([condition, self._dit.unconditional(condition)])
        for modulation in self._modulations:
            if self._guidance:
                pair = self._dit.velocity(torch.cat([x, x]), condition, modulation)
                given, free = pair.chunk(2)
                velocity = given + self._guidance * (given - free)
            else:
                velocity = self._dit.velocity(x, condition, modulation)
            x = x + velocity / self._steps
        return x


def stacked(conditions: Sequence[Conditioning]) -> Conditioning:
    """Return the rows of all ``conditions``, which have the same number of frames, as one batch."""
    styles = [condition.style for condition in conditions if condition.style is not None]
    return Conditioning(
        torch.cat([condition.frames for condition in conditions]),
        torch.cat(styles) if styles else None,
    )
