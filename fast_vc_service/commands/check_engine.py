"""Whether the engine keeps up on this machine, and streaming changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from fast_vc_service.commands.check import Check
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, Voice
from fast_vc_service.engine.build import Engine
from fast_vc_service.engine.capacity import probe_speech
from fast_vc_service.engine.families import family_of, latency_of
from fast_vc_service.engine.stream import convert_offline

PROBE_S = 4.0


CHUNK_SAMPLES = 317
"""An odd 20 ms at 16 kHz: chunk borders that never meet block borders."""


DIFFERENCE_LIMIT = 1e-6


COMFORTABLE_RTF = 0.75


def check_engine(engine: Engine, voice: Voice) -> Iterator[Check]:
    """Warm the engine up and measure its delay, its speed and whether streaming changes audio."""
    converter = engine.converter
    latency_ms = latency_of(converter)
    block_ms = 1e3 * converter.block / SAMPLE_RATE_IN
    yield Check(
        "delay",
        "ok",
        f"{latency_ms:.0f} ms from a sample's arrival to its answer "
        f"(block {block_ms:.0f} ms + delay {latency_ms - block_ms:.0f} ms), computing not counted",
        values={
            "latency_ms": latency_ms,
            "block_ms": block_ms,
            "delay_ms": latency_ms - block_ms,
        },
    )
    yield _check_speed(engine, voice)
    for warning in engine.warnings:
        yield Check("capacity", "warning", warning, "See docs/troubleshooting.md, Capacity.")
    on_cpu = all(lane.device == "cpu" for lane in engine.placement.lanes)
    limit = DIFFERENCE_LIMIT if on_cpu else max(DIFFERENCE_LIMIT, family_of(engine.name).tolerance)
    yield _check_streaming(converter, voice, limit)


def _check_speed(engine: Engine, voice: Voice) -> Check:
    started = time.perf_counter()
    try:
        measured = engine.warm_up(voice)
    finally:
        engine.stop()
    warm_up_s = time.perf_counter() - started
    capacity = max(measured, key=lambda device: device.rtf)
    memory = "".join(
        f"; on {lane.device} a session takes {lane.memory.session_bytes / 2**20:.1f} MiB and "
        f"{lane.memory.sessions} fit into its memory"
        for lane in engine.placement.lanes
        if lane.memory is not None
    )
    # An overridden max_sessions says nothing about what the machine carries.
    sessions = engine.placement.limit
    finding = (
        f"RTF {capacity.rtf:.2f} (p95 of a step over {capacity.batch}); "
        f"about {sessions} live sessions fit; warm-up takes {warm_up_s:.1f} s"
        f"{memory}"
    )
    values = {
        "real_time_factor_p95": capacity.rtf,
        "step_p95_ms": capacity.step_s * 1e3,
        "batch": capacity.batch,
        "sessions": sessions,
        "warm_up_s": warm_up_s,
    }
    slower = "Set a greater latency_ms, stop other programs, or use a faster machine."
    if capacity.rtf >= 1:
        return Check("speed", "problem", f"does not keep up: {finding}", slower, values)
    if capacity.rtf > COMFORTABLE_RTF:
        return Check("speed", "warning", f"keeps up barely: {finding}", slower, values)
    return Check("speed", "ok", f"keeps up: {finding}", values=values)


def compare(here: Converter, there: Converter, voice: Voice, tolerance: float) -> Check:
    """Convert the same with a converter on the CPU and with one on a device."""
    audio, rate = probe_speech(PROBE_S, SAMPLE_RATE_IN), SAMPLE_RATE_IN
    wanted, made = (
        convert_offline(converter, voice, audio, rate, rate, chunk_samples=CHUNK_SAMPLES)
        for converter in (here, there)
    )
    difference = float(np.abs(wanted - made).max())
    finding = f"largest difference of this device and the CPU: {difference:.1e}"
    values = {"max_difference": difference, "tolerance": tolerance}
    # A voicing decision that falls otherwise changes a few samples and nothing that is heard.
    if difference <= tolerance:
        return Check("same as CPU", "ok", finding, values=values)
    advice = "Please report it with `fast-vc version --json`."
    return Check("same as CPU", "warning", f"{finding}; expected {tolerance:g}", advice, values)


def _check_streaming(converter: Converter, voice: Voice, limit: float) -> Check:
    audio = probe_speech(PROBE_S, SAMPLE_RATE_IN)
    rate = SAMPLE_RATE_IN
    whole = convert_offline(converter, voice, audio, rate, rate, chunk_samples=len(audio))
    streamed = convert_offline(converter, voice, audio, rate, rate, chunk_samples=CHUNK_SAMPLES)
    same_length = len(whole) == len(streamed) == len(audio)
    difference = float(np.abs(whole - streamed).max()) if same_length else float("inf")
    finding = f"largest difference of streamed and whole audio: {difference:.1e}"
    if not difference <= limit:
        return Check(
            "streaming",
            "problem",
            finding,
            "This is a fault of the service or of a library: please report it with `fast-vc "
            "version --json`.",
            {"max_difference": difference if same_length else None},
        )
    return Check("streaming", "ok", finding, values={"max_difference": difference})
