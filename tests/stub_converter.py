"""A small converter that keeps every law by construction, for tests of what stands above it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray, State, Voice


@dataclass
class StubState(State):
    gain: float
    seed: int
    position: int = 0
    line: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    source_f0_hz: float | None = None


class StubConverter:
    """Delays, scales by the voice's gain, adds noise that depends on (seed, place) alone."""

    family = "stub"
    sample_rate_in = SAMPLE_RATE_IN
    alignment_tolerance = 0

    def __init__(
        self,
        block: int = 640,
        delay: int = 320,
        sample_rate_out: int = SAMPLE_RATE_IN,
        noise: float = 1e-3,
    ) -> None:
        self.block = block
        self.delay = delay
        self.sample_rate_out = sample_rate_out
        self.noise = noise
        self.steps: list[int] = []
        self.fail_on: set[int] = set()
        self.end_on: set[int] = set()

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:
        return Voice(name, self.family, {"gain": np.array([0.5], np.float32)})

    def prepare(self, voice: Voice) -> Voice:
        return voice

    def new_state(
        self,
        voice: Voice,
        pitch_shift: float = 0.0,
        seed: int = 0,
        source_f0_hz: float | None = None,
    ) -> StubState:
        gain = float(voice.features["gain"][0])
        return StubState(
            gain, seed, line=np.zeros(self.delay, np.float32), source_f0_hz=source_f0_hz
        )

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        self.steps.append(len(states))
        own = [state for state in states if isinstance(state, StubState)]
        if any(state.seed in self.fail_on for state in own):
            raise RuntimeError("this stub fails for the seed on purpose")
        if any(state.seed in self.end_on for state in own):
            sys.exit("this stub ends the thread for the seed on purpose")
        rows = []
        for block, state in zip(blocks, own, strict=True):
            heard = np.concatenate([state.line, block * np.float32(state.gain)])
            now = heard[: self.block]
            if self.noise:
                rng = np.random.default_rng([state.seed, state.position])
                now = now + self.noise * rng.standard_normal(self.block).astype(np.float32)
            rows.append(_repeat(now.astype(np.float32), self.sample_rate_out))
        for block, state in zip(blocks, own, strict=True):
            heard = np.concatenate([state.line, block * np.float32(state.gain)])
            state.line = heard[self.block :]
            state.position += self.block
        return np.stack(rows)

    def update(self, state: State, voice: Voice, pitch_shift: float) -> None:
        assert isinstance(state, StubState)
        state.gain = float(voice.features["gain"][0])

    def skip(self, state: State) -> FloatArray:
        assert isinstance(state, StubState)
        state.line = np.zeros(self.delay, np.float32)
        state.position += self.block
        return np.zeros(self.block * self.sample_rate_out // SAMPLE_RATE_IN, np.float32)


def stub_voice(name: str = "stub", gain: float = 0.5) -> Voice:
    return Voice(name, "stub", {"gain": np.array([gain], np.float32)})


def _repeat(block: FloatArray, rate: int) -> FloatArray:
    """Bring a block to ``rate`` by linear interpolation within it: crude, but exact in length."""
    length = len(block) * rate // SAMPLE_RATE_IN
    places = np.arange(length) * (SAMPLE_RATE_IN / rate)
    return np.interp(places, np.arange(len(block)), block).astype(np.float32)
