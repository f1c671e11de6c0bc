"""How many live sessions this machine carries, measured while none is live."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, FloatArray, State, Voice, block_out
from fast_vc_service.engine.device_errors import is_out_of_memory
from fast_vc_service.engine.stream import Stream, pump
from fast_vc_service.errors import UserError

MEASURED_S = 4.0
"""Seconds of test speech."""

MODEL_SHARE = 0.75
"""Part of a model thread's time that sessions may fill; the rest absorbs bursts."""

LOOP_SHARE = 0.6
"""Part of the event loop's time that streams may fill; the rest is for the sockets."""

PROBED_STEPS = 3
"""Steps of a probe."""


@dataclass(frozen=True)
class Capacity:
    """What was measured.

    Attributes:
        sessions: Live sessions that fit; 1 also where not even one does, see :attr:`carries_one`.
        step_s: 95th percentile of a step over ``batch`` sessions, in seconds.
        batch: Sessions in the measured step.
        stream_s: 95th percentile of one block's cutting, resampling and joining, in seconds.
        block_s: Seconds of audio a block.
        lone_s: The same over one session.
        probe_s: What :func:`probe` took just afterwards, in seconds; 0 when it was not made.
        memory_batch: Most sessions a step that the device has memory for; 0 where that is not what
            limits them.
    """

    sessions: int
    step_s: float
    batch: int
    stream_s: float
    block_s: float
    lone_s: float = 0.0
    probe_s: float = 0.0
    memory_batch: int = 0

    def expected_step_s(self, sessions: float) -> float:
        """Return the seconds of a step over ``sessions``, on the line through what was measured."""
        if self.batch == 1:
            return self.step_s * sessions
        each_s = min(max(self.step_s - self.lone_s, 0.0) / (self.batch - 1), self.lone_s)
        return self.lone_s + each_s * (sessions - 1)

    @property
    def rtf(self) -> float:
        """Real-time factor of one step (p95)."""
        return self.step_s / self.block_s

    @property
    def by_loop(self) -> int:
        """Sessions whose streams the event loop carries, on all devices together; at least 1."""
        return max(1, int(LOOP_SHARE * self.block_s / self.stream_s))

    @property
    def carries_one(self) -> bool:
        """Whether a block of one session is converted before the next one is whole."""
        return self.step_s + self.stream_s < self.block_s or self.sessions > 1


class CapacityError(RuntimeError):
    """Every slot is taken.

    Attributes:
        why: Why there are no more.
    """

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


class GivenUpError(Exception):
    """A measurement was given up, since the machine is wanted for something better."""


def measure(
    converter: Converter,
    voice: Voice,
    *,
    threads: int,
    max_batch: int,
    give_up: Callable[[], bool] = lambda: False,
) -> Capacity:
    """Time the converter through the whole Stream at 48 kHz both ways.

    The largest batch (a power of two up to ``max_batch``) whose step stays within its share of a
    block is found by doubling, with all model threads at work: they share caches and memory.

    Args:
        converter: What to time.
        voice: Any voice of its family.
        threads: Model threads that will run it side by side.
        max_batch: Most sessions a step.
        give_up: Asked before every step.

    Raises:
        GivenUpError: ``give_up`` said so.
        UserError: The device has no memory for one session.
    """
    block_s = converter.block / SAMPLE_RATE_IN
    stream_s = _time_stream(converter)
    sessions, step_s, lone_s, batch, memory_batch = 0, 0.0, 0.0, 1, 0
    while True:
        timed = _time_step_if_it_fits(converter, voice, batch, threads, give_up)
        if timed is None:
            if batch == 1:
                raise UserError("the device has not enough memory for one session")
            memory_batch = batch // 2
            break
        seconds = timed
        lone_s = lone_s or seconds
        within = int(MODEL_SHARE * block_s / seconds) * batch * threads
        if within > sessions:
            sessions, step_s = within, seconds
            measured = batch
        if batch * 2 > max_batch or seconds > MODEL_SHARE * block_s:
            break
        batch *= 2
    if not sessions:
        sessions, step_s, measured = 1, seconds, batch
    found = Capacity(sessions, step_s, measured, stream_s, block_s, lone_s=lone_s)
    return replace(
        found,
        sessions=max(1, min(sessions, found.by_loop)),
        probe_s=probe(converter, voice),
        memory_batch=memory_batch,
    )


def probe(converter: Converter, voice: Voice) -> float:
    """Return the seconds of the quickest of a few steps of one session: how fast the machine is."""
    blocks = _probe_blocks(converter)[:PROBED_STEPS]
    state = converter.new_state(voice)
    return min(_timed_step(converter, block[None], [state]) for block in blocks)


def probe_speech(seconds: float, sample_rate: int) -> FloatArray:
    """Return a deterministic signal that costs what speech costs.

    A buzz that glides between 110 and 150 Hz with a syllable rhythm, and some noise; ``[n]``.
    """
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    phase = 2 * np.pi * np.cumsum(130 + 20 * np.sin(2 * np.pi * 0.7 * time_s)) / sample_rate
    buzz = sum(np.sin(k * phase) / k for k in range(1, 24))
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    rhythm = np.clip(np.sin(2 * np.pi * 2.5 * time_s) + 0.6, 0, 1)
    return (0.15 * rhythm * buzz + 0.003 * noise).astype(np.float32)


def _probe_blocks(converter: Converter) -> FloatArray:
    """Blocks ``[n, block]`` of :func:`probe_speech`; n is 4 to 20."""
    speech = probe_speech(MEASURED_S, SAMPLE_RATE_IN)
    blocks = speech[: len(speech) // converter.block * converter.block].reshape(-1, converter.block)
    return blocks[: max(4, min(len(blocks), 20))]


def _timed_step(converter: Converter, blocks: FloatArray, states: Sequence[State]) -> float:
    started = time.perf_counter()
    converter.step(blocks, states)
    return time.perf_counter() - started


def _time_step_if_it_fits(
    converter: Converter, voice: Voice, batch: int, threads: int, give_up: Callable[[], bool]
) -> float | None:
    """As :func:`_time_step`; None when the device has not enough memory for it."""
    try:
        return _time_step(converter, voice, batch, threads, give_up)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return None


def _time_step(
    converter: Converter, voice: Voice, batch: int, threads: int, give_up: Callable[[], bool]
) -> float:
    """95th percentile of a step over ``batch`` sessions while every thread does the same."""
    blocks = _probe_blocks(converter)
    start = threading.Barrier(threads)

    def run(thread: int) -> list[float]:
        states = [converter.new_state(voice, seed=thread * batch + row) for row in range(batch)]
        times = []
        start.wait()
        for block in blocks:
            if give_up():
                raise GivenUpError
            times.append(_timed_step(converter, np.tile(block, (batch, 1)), states))
        return times[1:]

    if threads == 1:
        return float(np.percentile(run(0), 95))
    with ThreadPoolExecutor(threads) as pool:
        times = [seconds for each in pool.map(run, range(threads)) for seconds in each]
    return float(np.percentile(times, 95))


def _time_stream(converter: Converter) -> float:
    rate = 48_000
    stream = Stream(converter, rate_in=rate, rate_out=rate)
    chunks = np.split(probe_speech(1.0, rate), 50)
    silence = np.zeros(block_out(converter), np.float32)
    started = time.perf_counter()
    for _ in pump(stream, lambda _block: silence, chunks):
        pass
    return (time.perf_counter() - started) / stream.blocks_taken
