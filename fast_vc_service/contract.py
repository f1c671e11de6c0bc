"""The streaming contract: the one interface between the service and its networks.

Everything above this module (engine, sessions, server) knows nothing about networks; everything
below it (model families) knows nothing about sockets, threads or other sessions.

The laws a converter must keep, each of them a property test:

1. *Chunking*: any chunking of the same audio gives the same output, bit for bit.
2. *Isolation*: what other sessions of a batch do changes no sample of this one.
3. *Count*: ``floor(n * out / in + 1/2)`` output samples for ``n`` input samples, aligned.
4. *Finite*: every sample is finite and within [-1, 1].
5. *Fail closed*: no error path ever emits the speaker's own input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
"""Mono audio: float32 in [-1, 1], shape ``[samples]`` unless a docstring says otherwise."""

SAMPLE_RATE_IN = 16_000
"""Hz; the rate every converter hears."""

BLOCK_QUANTUM = 320
"""Samples at 16 kHz (20 ms); blocks and delays are whole multiples of it."""


@dataclass(frozen=True)
class Voice:
    """A target voice: what a model family needs to know of a speaker, and nothing else.

    Made once from a reference clip by :meth:`Converter.make_voice`; stored as one safetensors file.

    Attributes:
        name: The name sessions choose it by.
        family: The model family whose features these are (``"world"``, ``"nano"``, ...).
        features: Named float arrays; which ones, and their shapes, is the family's business.
    """

    name: str
    family: str
    features: Mapping[str, npt.NDArray[np.floating[Any]]] = field(default_factory=dict, repr=False)

    def check_family(self, family: str) -> None:
        """Make sure that the voice is one of ``family``.

        Raises:
            ValueError: It is of another one.
        """
        if self.family != family:
            raise ValueError(
                f"voice {self.name!r} is of family {self.family!r}, expected {family!r}: "
                "make it anew from its reference clip"
            )


class CannotBlendError(ValueError):
    """A model family that knows nothing between two of its voices."""


class State:
    """Everything a converter remembers of one session; each family subclasses it as a dataclass."""

    __slots__ = ()

    @property
    def source_f0_hz(self) -> float | None:
        """Median F0 of the source as learned; None before half a second of it was voiced.

        None too from a family that need not know it.
        """
        return None


class Converter(Protocol):
    """Weights and geometry of one model family, without any session data.

    Attributes:
        family: Name of the model family.
        sample_rate_in: Hz, always :data:`SAMPLE_RATE_IN`.
        sample_rate_out: Hz of the blocks that :meth:`step` returns.
        block: Samples at 16 kHz a step consumes; a multiple of :data:`BLOCK_QUANTUM`.
        delay: Samples at 16 kHz by which output trails input, the block itself not counted;
            a multiple of :data:`BLOCK_QUANTUM`.
        alignment_tolerance: Samples at 16 kHz by which a sample may sit off its place (half the
            SOLA search for windowed families, 0 for causal ones).
    """

    family: str
    sample_rate_in: int
    sample_rate_out: int
    block: int
    delay: int
    alignment_tolerance: int

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:
        """Derive a voice from a reference clip ``[samples]`` at ``sample_rate`` Hz.

        Raises:
            ValueError: The clip cannot make a voice (too short, silent, no voiced speech).
        """
        ...

    def blend_voices(self, name: str, parts: Sequence[tuple[Voice, float]]) -> Voice:
        """Make the voice between others, by their shares (positive, 1 in all).

        Raises:
            CannotBlendError: The family has none.
            ValueError: A voice is of another family, or damaged.
        """
        ...

    def prepare(self, voice: Voice) -> Voice:
        """Return ``voice`` with everything computed that :meth:`step` needs of it.

        May take milliseconds: call it neither on an event loop nor in a model thread.
        :meth:`new_state` and :meth:`update` take any voice, and prepare one that is not prepared.
        The result is freed with the last reference to the returned voice.

        Raises:
            ValueError: The voice is of another family, or damaged.
        """
        ...

    def new_state(
        self,
        voice: Voice,
        pitch_shift: float = 0.0,
        seed: int = 0,
        source_f0_hz: float | None = None,
    ) -> State:
        """Make the state of a new session.

        Args:
            voice: The target.
            pitch_shift: Semitones on top of the register match.
            seed: Chooses the noise.
            source_f0_hz: Median F0 of the source as far as known, 50 to 1100 Hz.

        Raises:
            ValueError: ``source_f0_hz`` out of range, or a voice of another family.
        """
        ...

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        """Convert one block for each of B sessions, of any mix of voices and ages.

        Transactional: when it raises, no state has changed. A session for which something came
        out that is no number gets a row of NaN, and its state is as it was; the others are not
        touched by it. Nothing that is not finite is ever kept in a state.

        Args:
            blocks: ``[B, block]`` at 16 kHz.
            states: B states, advanced in place.

        Returns:
            ``[B, block * sample_rate_out / 16000]``, delayed by :attr:`delay`.
        """
        ...

    def update(self, state: State, voice: Voice, pitch_shift: float) -> None:
        """Change voice and pitch shift (semitones) from the next step on, without a click."""
        ...

    def skip(self, state: State) -> FloatArray:
        """Stand in for one step whose audio is not converted.

        The network is not run and its caches are reset; what was still to come of the block
        before fades out within 5 ms, zeros follow, and the next step fades in.

        Returns:
            ``[block * sample_rate_out / 16000]``.
        """
        ...


@runtime_checkable
class RecordsSteps(Protocol):
    """A converter whose steps can be recorded ahead, once a batch size."""

    def record(self, voice: Voice, max_batch: int) -> int:
        """Record the steps over up to ``max_batch`` sessions; any voice of the family does.

        Returns:
            The largest batch that is recorded; 0 for none.
        """
        ...


def block_out(converter: Converter) -> int:
    """Return the samples a step of ``converter`` yields a session, at its output rate."""
    return converter.block * converter.sample_rate_out // SAMPLE_RATE_IN
