"""Who uses a CUDA device when: one at a time, live sessions first.

Steps, new sessions, voices and files of a device all go through its :class:`DeviceTurns`, so there
is one stream of work, in one order. What is not live gives way between the pieces of a step.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from fast_vc_service.contract import Converter, FloatArray, RecordsSteps, State, Voice
from fast_vc_service.models.pieces import pausing


class DeviceTurns:
    """A lock that live work gets before any other."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = False
        self._live_waiting = 0

    @contextmanager
    def taken(self, *, live: bool) -> Iterator[None]:
        """Have the device alone while the block runs."""
        self._take(live=live)
        try:
            yield
        finally:
            self._give()

    def pause(self) -> None:
        """Let live work go first that waits; for whoever has the device and is not live."""
        self._give()
        self._take(live=False)

    def _take(self, *, live: bool) -> None:
        with self._changed:
            self._live_waiting += live
            while self._taken or (not live and self._live_waiting):
                self._changed.wait()
            self._live_waiting -= live
            self._taken = True

    def _give(self) -> None:
        with self._changed:
            self._taken = False
            self._changed.notify_all()


@cache
def turns_of(device: str) -> DeviceTurns:
    """Return those of a device; ``"cuda"`` is the first one."""
    return DeviceTurns() if device != "cuda" else turns_of("cuda:0")


class TakingTurns:
    """A converter that has its device alone during each call; see the contract.

    Args:
        converter: On a CUDA device.
        turns: Of that device.
        live: Whether it is for live sessions.

    Attributes:
        converter: As given.
    """

    def __init__(self, converter: Converter, turns: DeviceTurns, *, live: bool) -> None:
        self.converter = converter
        self._turns = turns
        self._live = live
        self.family = converter.family
        self.sample_rate_in = converter.sample_rate_in
        self.sample_rate_out = converter.sample_rate_out
        self.block = converter.block
        self.delay = converter.delay
        self.alignment_tolerance = converter.alignment_tolerance

    def record(self, voice: Voice, max_batch: int) -> int:
        """See :class:`.RecordsSteps`; 0 for a converter that records nothing."""
        if not isinstance(self.converter, RecordsSteps):
            return 0
        with self._turns.taken(live=self._live):
            return self.converter.record(voice, max_batch)

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:
        """See the contract."""
        with self._turns.taken(live=False):
            return self.converter.make_voice(name, audio, sample_rate)

    def blend_voices(self, name: str, parts: Sequence[tuple[Voice, float]]) -> Voice:
        """See the contract; needs no device."""
        return self.converter.blend_voices(name, parts)

    def prepare(self, voice: Voice) -> Voice:
        """See the contract."""
        with self._turns.taken(live=False):
            return self.converter.prepare(voice)

    def new_state(
        self,
        voice: Voice,
        pitch_shift: float = 0.0,
        seed: int = 0,
        source_f0_hz: float | None = None,
    ) -> State:
        """See the contract."""
        with self._turns.taken(live=False):
            return self.converter.new_state(voice, pitch_shift, seed, source_f0_hz)

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        """See the contract."""
        with self._turns.taken(live=self._live):
            if self._live:
                return self.converter.step(blocks, states)
            with pausing(self._turns.pause):
                return self.converter.step(blocks, states)

    def update(self, state: State, voice: Voice, pitch_shift: float) -> None:
        """See the contract."""
        with self._turns.taken(live=self._live):
            self.converter.update(state, voice, pitch_shift)

    def skip(self, state: State) -> FloatArray:
        """See the contract."""
        with self._turns.taken(live=self._live):
            return self.converter.skip(state)
