"""A converter that only delays: for measuring the path around the networks, never a default.

By design it hands out the speaker's own voice, so ``skip`` is where failing closed shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fast_vc_service.audio.pcm import limit
from fast_vc_service.contract import BLOCK_QUANTUM, SAMPLE_RATE_IN, FloatArray, State, Voice

FAMILY = "passthrough"

_MS = SAMPLE_RATE_IN // 1000
_EDGE = 5 * _MS
_RISE = ((np.arange(_EDGE, dtype=np.float32) + 0.5) / np.float32(_EDGE)).astype(np.float32)


@dataclass(slots=True)
class PassthroughState(State):
    """One session.

    Attributes:
        voice: Kept for symmetry with real families; changes nothing.
        pending: The last ``[delay]`` samples heard, not yet given out.
        resume: True after a skipped block: the next one fades in.
    """

    voice: Voice
    pending: FloatArray = field(repr=False)
    resume: bool = False


class PassthroughConverter:
    """Gives every sample back ``delay_ms`` later; voice and pitch shift change nothing.

    Raises:
        ValueError: ``block_ms`` or ``delay_ms`` is not a positive multiple of 20.
    """

    family = FAMILY
    sample_rate_in = SAMPLE_RATE_IN
    sample_rate_out = SAMPLE_RATE_IN
    alignment_tolerance = 0

    def __init__(self, block_ms: int = 20, delay_ms: int = 20) -> None:
        for name, value in (("block_ms", block_ms), ("delay_ms", delay_ms)):
            if value <= 0 or value * _MS % BLOCK_QUANTUM:
                raise ValueError(f"{name} must be a positive multiple of 20, got {value}")
        self.block = block_ms * _MS
        self.delay = delay_ms * _MS
        self._silence = np.zeros(self.block, np.float32)
        self._silence.flags.writeable = False

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:  # noqa: ARG002
        """Make a voice of its name alone.

        Raises:
            ValueError: The clip holds no samples.
        """
        if len(audio) == 0:
            raise ValueError(f"the clip of voice {name!r} is empty")
        return Voice(name=name, family=FAMILY)

    def blend_voices(self, name: str, parts: Sequence[tuple[Voice, float]]) -> Voice:  # noqa: ARG002
        """Make a voice of its name alone: all voices of this family are alike."""
        return Voice(name=name, family=FAMILY)

    def prepare(self, voice: Voice) -> Voice:
        """Return ``voice``: it changes nothing."""
        return voice

    def new_state(
        self,
        voice: Voice,
        pitch_shift: float = 0.0,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
        source_f0_hz: float | None = None,  # noqa: ARG002
    ) -> PassthroughState:
        """Make the state of a new session: a delay line of zeros."""
        return PassthroughState(voice, np.zeros(self.delay, np.float32))

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        """Delay ``[B, block]``; see the contract."""
        own = [_own(state) for state in states]
        if blocks.shape != (len(own), self.block):
            raise ValueError(f"expected blocks [{len(own)}, {self.block}], got {blocks.shape}")
        heard = limit(blocks)
        for row, state in enumerate(own):
            if state.resume:
                heard[row, :_EDGE] *= _RISE
                state.resume = False
        lines = np.concatenate([np.stack([state.pending for state in own]), heard], axis=1)
        for state, line in zip(own, lines, strict=True):
            state.pending = line[self.block :]
        return lines[:, : self.block]

    def update(self, state: State, voice: Voice, pitch_shift: float) -> None:  # noqa: ARG002
        """Take another voice; nothing is heard of it."""
        _own(state).voice = voice

    def skip(self, state: State) -> FloatArray:
        """Fade the delay line out in 5 ms and empty it; see the contract."""
        own = _own(state)
        if own.resume:
            return self._silence  # skipped again: there is nothing to fade out
        silence = self._silence.copy()
        silence[:_EDGE] = own.pending[:_EDGE] * _RISE[::-1]
        own.pending = np.zeros(self.delay, np.float32)
        own.resume = True
        return silence


def _own(state: State) -> PassthroughState:
    if not isinstance(state, PassthroughState):
        raise TypeError(f"expected a PassthroughState, got {type(state).__name__}")
    return state
