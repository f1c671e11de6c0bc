"""Flow-matching sampler: Euler steps from noise to mel, with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fast_vc_service.models.pieces import between_pieces
from fast_vc_service.models.seedvc.dit import DiT
from fast_vc_service.models.seedvc.dit_layers import Conditioning, Keys


class Sampler:
    """Samples with a fixed number of steps, for which all of the flow time's part is kept.

    Args:
        dit: The velocity estimator, in eval mode on its device.
        steps: Euler steps.
        guidance: Weight of the difference to the unconditional velocity; 0 leaves it out.
        prompt_every: The prompt's frames are taken through the transformer in every n-th step;
            1 is exact, more is an approximation.
        compiled: Whether ``torch.compile`` makes the estimator.
        times: The estimator in full precision, for what depends on the flow time alone; None is
            ``dit``.

    Raises:
        ValueError: Fewer than one step, or a negative guidance.
    """

    def __init__(
        self,
        dit: DiT,
        steps: int,
        guidance: float,
        *,
        prompt_every: int = 1,
        compiled: bool = False,
        times: DiT | None = None,
    ) -> None:
        if steps < 1 or guidance < 0 or prompt_every < 1:
            raise ValueError(
                "expected steps >= 1, guidance >= 0 and prompt_every >= 1, "
                f"got {steps}, {guidance} and {prompt_every}"
            )
        self._dit = dit
        self._prompt_every = prompt_every
        self._whole = dit.velocity
        self._keeping = dit.velocity_and_keys
        self._beside = dit.velocity_beside
        if compiled:
            self._whole = torch.compile(self._whole)
            self._keeping = torch.compile(self._keeping)
            self._beside = torch.compile(self._beside)
        self._steps = steps
        self._guidance = guidance
        device, exact = dit.frequencies.device, times or dit
        places = torch.arange(steps, device=exact.frequencies.device) / steps
        with torch.no_grad():
            self._modulations = [exact.modulation(place[None]).on(device) for place in places]

    def __call__(self, noise: Tensor, condition: Conditioning) -> Tensor:
        """Sample the frames that follow the prompt.

        Args:
            noise: ``[B, mels, N]``, standard normal.
            condition: Of T frames, the last N of which are sampled and the rest the prompt's.

        Returns:
            Mel ``[B, mels, N]``.
        """
        return self.sampled(noise, condition.frames, condition.style)

    def sampled(self, noise: Tensor, frames: Tensor, style: Tensor | None) -> Tensor:
        """The same, with the parts of the condition."""
        x, condition = noise, Conditioning(frames, style)
        if self._guidance:
            condition = stacked([condition, self._dit.unconditional(condition)])
        held: tuple[Keys, ...] = ()
        for step, modulation in enumerate(self._modulations):
            if step:
                between_pieces()
            state = torch.cat([x, x]) if self._guidance else x
            if self._prompt_every == 1:
                velocity = self._whole(state, condition, modulation)
            elif step % self._prompt_every == 0:
                velocity, held = self._keeping(state, condition, modulation)
            else:
                velocity = self._beside(state, condition, modulation, held)
            if self._guidance:
                given, free = velocity.chunk(2)
                velocity = given + self._guidance * (given - free)
            x = x + velocity / self._steps
        return x


def stacked(conditions: Sequence[Conditioning]) -> Conditioning:
    """Return the rows of all ``conditions``, which have the same number of frames, as one batch."""
    styles = [condition.style for condition in conditions if condition.style is not None]
    return Conditioning(
        torch.cat([condition.frames for condition in conditions]),
        torch.cat(styles) if styles else None,
    )
