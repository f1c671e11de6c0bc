"""``fast-vc doctor``: whether this machine keeps up, and if not, what to do about it."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fast_vc_service.about import devices
from fast_vc_service.audio.opus import opus_available
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, FloatArray, Voice
from fast_vc_service.engine.build import Engine, cores, engine_of
from fast_vc_service.engine.capacity import probe_speech
from fast_vc_service.engine.families import latency_of
from fast_vc_service.engine.stream import Stream, convert_offline
from fast_vc_service.errors import ServiceError, UserError
from fast_vc_service.lifecycle import bind_socket, find_services, is_loopback
from fast_vc_service.settings import Settings

Verdict = Literal["ok", "warning", "problem"]

PROBE_S = 4.0
CHUNK_SAMPLES = 317
"""An odd 20 ms at 16 kHz: chunk borders that never meet block borders."""

DIFFERENCE_LIMIT = 1e-6
COMFORTABLE_RTF = 0.75
MIN_FREE_BYTES = 1 << 30
SPARE_FILES = 64

_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: What.
        verdict: A ``problem`` stops the service; a ``warning`` does not.
        finding: What was found.
        advice: What to do about it; empty when all is well.
        values: The measured figures, units in their names.
    """

    name: str
    verdict: Verdict
    finding: str
    advice: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def run(settings: Settings, *, as_json: bool = False) -> int:
    """Look at everything the service needs and print the findings.

    Returns:
        Exit status: 1 when a problem stops the service.
    """
    checks = list(examine(settings))
    problems = sum(check.verdict == "problem" for check in checks)
    if as_json:
        content = {"ok": not problems, "checks": [asdict(check) for check in checks]}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    else:
        _print(checks, problems)
    return 1 if problems else 0


def examine(settings: Settings) -> Iterator[Check]:
    """Yield the findings, the slow ones last."""
    yield check_machine()
    yield check_device(settings)
    yield check_opus()
    yield check_port(settings)
    yield check_access(settings)
    yield check_files(settings)
    yield from check_folders(settings)
    try:
        engine = engine_of(settings, on_step=lambda _seconds, _batch: None)
    except (ValueError, UserError) as error:
        yield Check("engine", "problem", str(error), "Correct the setting named here.")
        return
    voices = check_voices(settings, engine)
    yield voices
    if voices.verdict != "problem":
        yield from check_engine(engine)


def check_machine() -> Check:
    """Count cores and memory."""
    count = cores()
    memory = psutil.virtual_memory()
    finding = (
        f"{count} {'core' if count == 1 else 'cores'}, {memory.total / 2**30:.1f} GiB memory "
        f"({memory.available / 2**30:.1f} free), Python {platform.python_version()}"
    )
    values = {
        "cores": count,
        "memory_bytes": memory.total,
        "available_memory_bytes": memory.available,
        "python": platform.python_version(),
    }
    if memory.available < MIN_FREE_BYTES:
        return Check("machine", "warning", finding, "Free some memory (1 GiB at least).", values)
    return Check("machine", "ok", finding, values=values)


def check_device(settings: Settings) -> Check:
    """Say where the model will run and what else there would be."""
    available = devices()
    values = {"device": settings.device, "available": available}
    others = [name for name in available if name != settings.device]
    beside = f"; also here: {', '.join(others)}" if others else ""
    return Check("device", "ok", f"{settings.device}{beside}", values=values)


def check_opus() -> Check:
    """Look for libopus."""
    if opus_available():
        return Check("libopus", "ok", "found: PCM and Opus clients can connect")
    return Check(
        "libopus",
        "warning",
        "not found: only PCM clients can connect",
        "Install it: apt install libopus0, or brew install opus.",
    )


def check_port(settings: Settings) -> Check:
    """See whether the service could listen where it is told to."""
    place = f"{settings.host}:{settings.port}"
    for info in find_services(settings.temp_dir, settings.port).running:
        return Check("port", "ok", f"{place}: this service runs there (process {info.master_pid})")
    try:
        bind_socket(settings.host, settings.port).close()
    except ServiceError as error:
        return Check("port", "problem", str(error), "Choose another port or stop that program.")
    return Check("port", "ok", f"{place} is free")


def check_access(settings: Settings) -> Check:
    """Compare who can reach the service with who is let in."""
    keys = len(settings.api_keys)
    if is_loopback(settings.host):
        return Check("access", "ok", f"this machine only; {keys or 'no'} keys configured")
    if keys:
        return Check("access", "ok", f"others can reach {settings.host}; {keys} keys configured")
    if settings.allow_anonymous:
        return Check(
            "access",
            "warning",
            f"anyone who reaches {settings.host} may use the service",
            "Configure api_keys unless that is meant.",
        )
    return Check(
        "access",
        "problem",
        f"others can reach {settings.host} and no keys are configured",
        "Configure api_keys, or set allow_anonymous, or listen on 127.0.0.1.",
    )


def check_files(settings: Settings) -> Check:
    """Compare the limit on open files with the connections that may come."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = settings.max_connections + SPARE_FILES
    finding = f"{soft} may be open at once, {settings.max_connections} connections are allowed"
    if soft != resource.RLIM_INFINITY and soft < need:
        enough = hard == resource.RLIM_INFINITY or hard >= need
        advice = f"Run: ulimit -n {need}" if enough else "Lower max_connections."
        return Check("open files", "warning", finding, advice)
    return Check("open files", "ok", finding)


def check_folders(settings: Settings) -> Iterator[Check]:
    """See whether the service may write where it must."""
    needed = {"temp_dir": settings.temp_dir, "logs_dir": settings.logs_dir}
    needed["models_dir"] = settings.models_dir
    if settings.record:
        needed["outputs_dir"] = settings.outputs_dir
    locked = [f"{name} ({path})" for name, path in needed.items() if not _writable(path)]
    if locked:
        yield Check(
            "folders",
            "problem",
            f"cannot write to {', '.join(locked)}",
            "Change the folder's owner, or set another folder.",
        )
    else:
        yield Check("folders", "ok", f"{', '.join(needed)} can be written")


def check_voices(settings: Settings, engine: Engine) -> Check:
    """List the voices and make the default one."""
    names = engine.voices.names()
    values = {"voices": names, "default_voice": settings.default_voice}
    try:
        engine.voices.get(settings.default_voice)
    except (LookupError, ValueError) as error:
        return Check(
            "voices",
            "problem",
            str(error.args[0]) if error.args else str(error),
            f"Put a clip of 5 to 30 s of clear speech into {settings.voices_dir}, or set "
            "default_voice to one that is there.",
            values,
        )
    finding = f"{len(names)}: {', '.join(names)} (default {settings.default_voice})"
    return Check("voices", "ok", finding, values=values)


def check_engine(engine: Engine) -> Iterator[Check]:
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
    yield _check_speed(engine)
    yield _check_streaming(converter, engine.voices.get(engine.voices.default))


def _check_speed(engine: Engine) -> Check:
    started = time.perf_counter()
    try:
        measured = engine.warm_up()
    finally:
        engine.stop()
    warm_up_s = time.perf_counter() - started
    capacity = max(measured, key=lambda device: device.rtf)
    # An overridden max_sessions says nothing about what the machine carries.
    sessions = sum(device.sessions for device in measured)
    finding = (
        f"RTF {capacity.rtf:.2f} (p95 of a step over {capacity.batch}); "
        f"about {sessions} live sessions fit; warm-up takes {warm_up_s:.1f} s"
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


def _check_streaming(converter: Converter, voice: Voice) -> Check:
    audio = probe_speech(PROBE_S, SAMPLE_RATE_IN)
    whole = convert_offline(converter, voice, audio, SAMPLE_RATE_IN, SAMPLE_RATE_IN)
    streamed = stream_in_chunks(converter, voice, audio)
    same_length = len(whole) == len(streamed) == len(audio)
    difference = float(np.abs(whole - streamed).max()) if same_length else float("inf")
    finding = f"largest difference of streamed and whole audio: {difference:.1e}"
    if difference > DIFFERENCE_LIMIT:
        return Check(
            "streaming",
            "problem",
            finding,
            "This is a fault of the service or of a library: please report it with `fast-vc "
            "version --json`.",
            {"max_difference": difference if same_length else None},
        )
    return Check("streaming", "ok", finding, values={"max_difference": difference})


def stream_in_chunks(converter: Converter, voice: Voice, audio: FloatArray) -> FloatArray:
    """Convert ``[n]`` at 16 kHz as a live session would, in small uneven chunks."""
    stream = Stream(converter, rate_in=SAMPLE_RATE_IN, rate_out=SAMPLE_RATE_IN)
    state = converter.new_state(voice)
    pieces = [np.zeros(0, np.float32)]

    def drain() -> None:
        while (block := stream.take_block()) is not None:
            pieces.append(stream.accept(converter.step(block[None], [state])[0]))

    for start in range(0, len(audio), CHUNK_SAMPLES):
        stream.push(audio[start : start + CHUNK_SAMPLES])
        drain()
    stream.end()
    drain()
    return np.concatenate(pieces)


def _writable(path: Path) -> bool:
    """True when ``path`` can be written, or made."""
    for place in (path, *path.parents):
        if place.exists():
            return place.is_dir() and os.access(place, os.W_OK)
    return False


def _print(checks: list[Check], problems: int) -> None:
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        style = _STYLES[check.verdict]
        table.add_row(Text(check.verdict, style), check.name, Text(check.finding))
        if check.advice:
            table.add_row("", "", Text(f"-> {check.advice}", style))
    console.print(table)
    if problems:
        console.print(
            f"\n{problems} {'problem stops' if problems == 1 else 'problems stop'} the service.",
            style="red",
        )
    else:
        console.print("\nThis machine can run the service.", style="green")
