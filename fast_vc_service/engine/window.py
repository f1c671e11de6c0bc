"""Windowed streaming: how a model that sees a window of audio becomes a Converter.

Each step the model converts a window (rolling context + the new block + look-ahead). From its
output the newest piece that has enough audio to its right is kept, moved by at most half the SOLA
search to where it continues the piece before (normalised cross-correlation), and cross-faded into
it. This module knows no model family.

Geometry, in samples at 16 kHz::

    |<------- context ------->|<---- block ---->|
    window                        ... right ->|
                     |o| block out |x|

    delay = right + cross-fade + search / 2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fast_vc_service.audio.finite import all_finite
from fast_vc_service.audio.high_pass import DoubleArray, HighPass, high_pass
from fast_vc_service.audio.pcm import limit
from fast_vc_service.audio.sola import best_offset, crossfade
from fast_vc_service.contract import BLOCK_QUANTUM, SAMPLE_RATE_IN, FloatArray, State, Voice

EDGE = SAMPLE_RATE_IN // 200
"""Samples at 16 kHz (5 ms) of the fades around a skipped block."""


class WindowMemory(Protocol):
    """What a model keeps of one session between windows: an immutable value."""

    @property
    def source_f0_hz(self) -> float | None:
        """See :attr:`fast_vc_service.contract.State.source_f0_hz`."""
        ...


class WindowModel(Protocol):
    """A model that converts whole windows and keeps only small values between them.

    Attributes:
        family: Name of the model family.
        sample_rate_out: Hz of what :meth:`convert` returns.
    """

    family: str
    sample_rate_out: int

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:
        """See :meth:`fast_vc_service.contract.Converter.make_voice`."""
        ...

    def blend_voices(self, name: str, parts: Sequence[tuple[Voice, float]]) -> Voice:
        """See :meth:`fast_vc_service.contract.Converter.blend_voices`."""
        ...

    def new_memory(
        self, voice: Voice, pitch_shift: float, seed: int, source_f0_hz: float | None = None
    ) -> Any:
        """Make what the model keeps between windows: an immutable value."""
        ...

    def convert(
        self,
        windows: FloatArray,
        new_samples: int,
        right_samples: int,
        memories: Sequence[Any],
        positions: Sequence[int],
    ) -> tuple[FloatArray, list[Any]]:
        """Convert one window for each of B sessions; changes no argument.

        Args:
            windows: ``[B, W]`` at 16 kHz, oldest sample first, zeros before a session's start.
            new_samples: How many of the newest samples no earlier window held.
            right_samples: How many of the newest samples are look-ahead only.
            memories: B memories.
            positions: Absolute index of each window's first sample; may be negative.

        Returns:
            ``[B, W * sample_rate_out / 16000]`` aligned with the windows, and B new memories.
        """
        ...

    def retarget(self, memory: Any, voice: Voice, pitch_shift: float) -> Any:
        """Return ``memory`` with another voice and pitch shift (semitones)."""
        ...


@dataclass(frozen=True)
class WindowGeometry:
    """Lengths in samples at 16 kHz.

    Attributes:
        block: New audio a step.
        context: Audio before the block that the model sees again.
        right: Look-ahead: newest audio whose conversion is not kept yet.
        fade: SOLA cross-fade.
        search: Width of the SOLA search; a sample sits at most half of it off its place.
    """

    block: int
    context: int
    right: int
    fade: int
    search: int

    def __post_init__(self) -> None:
        for name in ("block", "delay"):
            if getattr(self, name) % BLOCK_QUANTUM:
                raise ValueError(f"{name} must be a multiple of {BLOCK_QUANTUM} samples (20 ms)")
        if self.context < self.delay + self.search // 2:
            raise ValueError("context must cover the delay and half the search")

    @property
    def delay(self) -> int:
        """Samples by which output trails input, the block not counted."""
        return self.right + self.fade + self.search // 2

    @property
    def window(self) -> int:
        """Samples the model sees a step."""
        return self.context + self.block


@dataclass(slots=True)
class WindowState(State):
    """One session of a windowed model.

    Attributes:
        window: The last ``[context]`` samples heard.
        memory: The model's own value.
        position: Absolute index (16 kHz) of the next sample to be heard.
        tail: What the next block is cross-faded with, ``[fade]`` at the output rate; None before
            the first block and after a skipped one.
        below_speech: State of the high-pass; None where ``tail`` is, and without one.
    """

    window: FloatArray = field(repr=False)
    memory: WindowMemory
    position: int = 0
    tail: FloatArray | None = None
    below_speech: DoubleArray | None = field(default=None, repr=False)

    @property
    def source_f0_hz(self) -> float | None:
        """See the contract."""
        return self.memory.source_f0_hz


class WindowConverter:
    """A Converter made of a :class:`WindowModel` and a :class:`WindowGeometry`.

    Args:
        model: See there.
        geometry: See there.
        high_passed: Whether the model is to hear nothing of what lies below speech.

    Raises:
        ValueError: A length is no whole number of samples at the model's output rate.
    """

    sample_rate_in = SAMPLE_RATE_IN

    def __init__(
        self, model: WindowModel, geometry: WindowGeometry, *, high_passed: bool = False
    ) -> None:
        self.family = model.family
        self.sample_rate_out = model.sample_rate_out
        self.block = geometry.block
        self.delay = geometry.delay
        self.alignment_tolerance = geometry.search // 2
        self._model = model
        self._geometry = geometry
        self._block_out = self._out(geometry.block)
        self._fade_out = self._out(geometry.fade)
        self._search_out = geometry.search * model.sample_rate_out // SAMPLE_RATE_IN
        self._delay_out = self._out(geometry.delay)
        self._edge = model.sample_rate_out // 200
        self._high_pass = HighPass.at(SAMPLE_RATE_IN) if high_passed else None

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:
        """Derive a voice from a reference clip; see the contract."""
        if self._high_pass is not None:
            audio = high_pass(audio, sample_rate)
        return self._model.make_voice(name, audio, sample_rate)

    def blend_voices(self, name: str, parts: Sequence[tuple[Voice, float]]) -> Voice:
        """See :meth:`fast_vc_service.contract.Converter.blend_voices`."""
        return self._model.blend_voices(name, parts)

    def prepare(self, voice: Voice) -> Voice:
        """Return ``voice``: these models take it as it is."""
        return voice

    def new_state(
        self,
        voice: Voice,
        pitch_shift: float = 0.0,
        seed: int = 0,
        source_f0_hz: float | None = None,
    ) -> WindowState:
        """Make the state of a new session: a window of silence; see the contract."""
        known = () if source_f0_hz is None else (source_f0_hz,)
        return WindowState(
            window=np.zeros(self._geometry.context, np.float32),
            memory=self._model.new_memory(voice, pitch_shift, seed, *known),
        )

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        """Convert ``[B, block]``; see the contract."""
        own = [_own(state) for state in states]
        geometry = self._geometry
        heard, below_speech = self._heard(blocks.astype(np.float32), own)
        windows = np.concatenate([np.stack([state.window for state in own]), heard], axis=1)
        for row, state in enumerate(own):
            if state.tail is None and state.position:
                # After a skipped block the audio sets in mid-speech: no step, a ramp.
                onset = slice(geometry.context, geometry.context + EDGE)
                windows[row, onset] *= _ramp(EDGE)
        converted, memories = self._model.convert(
            windows,
            geometry.block,
            geometry.right,
            [state.memory for state in own],
            [state.position - geometry.context for state in own],
        )
        pieces = [
            self._piece(converted[row], state.tail)
            if all_finite((windows[row], converted[row], memories[row], below_speech[row]))
            else None
            for row, state in enumerate(own)
        ]
        # Nothing has changed up to here: a failure above leaves every state as it was.
        for row, (state, piece) in enumerate(zip(own, pieces, strict=True)):
            if piece is None:
                continue
            state.window = windows[row, geometry.block :]
            state.memory = memories[row]
            state.position += geometry.block
            state.tail = piece[1]
            state.below_speech = below_speech[row]
        nothing = np.full(self._block_out, np.nan, np.float32)
        return np.stack([nothing if piece is None else piece[0] for piece in pieces])

    def update(self, state: State, voice: Voice, pitch_shift: float) -> None:
        """Change the target; the SOLA cross-fade makes the change inaudible as a click."""
        own = _own(state)
        own.memory = self._model.retarget(own.memory, voice, pitch_shift)

    def skip(self, state: State) -> FloatArray:
        """Fade the pending tail out in 5 ms, forget the context; see the contract."""
        own = _own(state)
        silence = np.zeros(self._block_out, np.float32)
        if own.tail is not None:
            length = min(self._edge, len(own.tail))
            silence[:length] = own.tail[:length] * _ramp(length)[::-1]
        own.window = np.zeros(self._geometry.context, np.float32)
        own.position += self._geometry.block
        own.tail = own.below_speech = None
        return silence

    def _heard(
        self, blocks: FloatArray, states: Sequence[WindowState]
    ) -> tuple[FloatArray, list[DoubleArray | None]]:
        """``[B, block]`` as the model is to hear it, and the high-pass's B new states."""
        if self._high_pass is None:
            return blocks, [None] * len(states)
        filtered = [
            self._high_pass.step(limit(block), state.below_speech)
            for block, state in zip(blocks, states, strict=True)
        ]
        return np.stack([heard for heard, _ in filtered]), [after for _, after in filtered]

    def _piece(
        self, converted: FloatArray, tail: FloatArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """Cut the block that is due ``[block_out]`` and the next tail ``[fade]``."""
        length = self._block_out + self._fade_out
        # The search lies around where the block has to be: exactly the delay before the end.
        first = len(converted) - self._delay_out - self._block_out - self._search_out // 2
        if tail is None:
            offset = self._search_out // 2
        else:
            candidate = converted[first : first + self._search_out + self._fade_out]
            offset = best_offset(candidate, tail)
        piece = converted[first + offset : first + offset + length].astype(np.float32)
        if tail is not None:
            # Equal power may exceed full scale a little.
            piece[: self._fade_out] = np.clip(crossfade(tail, piece[: self._fade_out]), -1.0, 1.0)
        return piece[: self._block_out], piece[self._block_out :].copy()

    def _out(self, samples: int) -> int:
        scaled, rest = divmod(samples * self.sample_rate_out, SAMPLE_RATE_IN)
        if rest:
            raise ValueError(
                f"{samples} samples at 16 kHz are no whole number at {self.sample_rate_out} Hz"
            )
        return scaled


def _own(state: State) -> WindowState:
    if not isinstance(state, WindowState):
        raise TypeError(f"expected a WindowState, got {type(state).__name__}")
    return state


def _ramp(length: int) -> FloatArray:
    return ((np.arange(length, dtype=np.float32) + 0.5) / np.float32(length)).astype(np.float32)
