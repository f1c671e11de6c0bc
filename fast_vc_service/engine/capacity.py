"""How many live sessions this machine carries, measured before the first one is admitted."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, FloatArray, Voice, block_out
from fast_vc_service.engine.stream import Stream, pump

MEASURED_S = 4.0
"""Seconds of test speech."""

MODEL_SHARE = 0.75
"""Part of a model thread's time that sessions may fill; the rest absorbs bursts."""

LOOP_SHARE = 0.6
"""Part of the event loop's time that streams may fill; the rest is for the sockets."""


SMOOTHED_STEPS = 50
"""Steps over which live step times are averaged."""


@dataclass(frozen=True)
class Capacity:
    """What a warm-up found.

    Attributes:
        sessions: Live sessions that fit.
        step_s: 95th percentile of a step over ``batch`` sessions, in seconds.
        batch: Sessions in the measured step.
        stream_s: 95th percentile of one block's cutting, resampling and joining, in seconds.
        block_s: Seconds of audio a block.
    """

    sessions: int
    step_s: float
    batch: int
    stream_s: float
    block_s: float

    @property
    def rtf(self) -> float:
        """Real-time factor of one step (p95)."""
        return self.step_s / self.block_s


class LiveCapacity:
    """A measured capacity, lowered while live steps take longer than the measured one.

    Steps of much smaller batches say nothing of the full one and are not counted. It recovers as
    steps do: an exponential mean over about :data:`SMOOTHED_STEPS` steps.
    """

    def __init__(self, measured: Capacity) -> None:
        self.measured = measured
        self._step_s = measured.step_s

    def observe(self, seconds: float, batch: int) -> None:
        """Count one live step over ``batch`` sessions."""
        if 2 * batch > self.measured.batch:
            scaled = seconds * self.measured.batch / batch
            self._step_s += (scaled - self._step_s) / SMOOTHED_STEPS

    @property
    def sessions(self) -> int:
        """Live sessions that fit at present; at least 1, at most what was measured."""
        slower = max(1.0, self._step_s / self.measured.step_s)
        return max(1, int(self.measured.sessions / slower))


def measure(converter: Converter, voice: Voice, *, threads: int, max_batch: int) -> Capacity:
    """Time the converter through the whole Stream at 48 kHz both ways.

    The largest batch (a power of two up to ``max_batch``) whose step stays within its share of a
    block is found by doubling, with all model threads at work: they share caches and memory.

    Args:
        converter: What to time.
        voice: Any voice of its family.
        threads: Model threads that will run it side by side.
        max_batch: Most sessions a step.
    """
    block_s = converter.block / SAMPLE_RATE_IN
    stream_s = _time_stream(converter)
    sessions, step_s, batch = 0, 0.0, 1
    while True:
        seconds = _time_step(converter, voice, batch, threads)
        within = int(MODEL_SHARE * block_s / seconds) * batch * threads
        if within > sessions:
            sessions, step_s = within, seconds
            measured = batch
        if batch * 2 > max_batch or seconds > MODEL_SHARE * block_s:
            break
        batch *= 2
    if not sessions:
        sessions, step_s, measured = 1, seconds, batch
    by_loop = int(LOOP_SHARE * block_s / stream_s)
    return Capacity(max(1, min(sessions, by_loop)), step_s, measured, stream_s, block_s)


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


def _time_step(converter: Converter, voice: Voice, batch: int, threads: int) -> float:
    """95th percentile of a step over ``batch`` sessions while every thread does the same."""
    speech = probe_speech(MEASURED_S, SAMPLE_RATE_IN)
    blocks = speech[: len(speech) // converter.block * converter.block].reshape(-1, converter.block)
    blocks = blocks[: max(4, min(len(blocks), 20))]
    start = threading.Barrier(threads)

    def run(thread: int) -> list[float]:
        states = [converter.new_state(voice, seed=thread * batch + row) for row in range(batch)]
        times = []
        start.wait()
        for block in blocks:
            tiled = np.tile(block, (batch, 1))
            started = time.perf_counter()
            converter.step(tiled, states)
            times.append(time.perf_counter() - started)
        return times[1:]

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
