"""Real-time factor of an engine through the whole Stream, on one core.

    python -m benchmarks.rtf --engine world --engine passthrough

One session's speech goes through resampling, block cutting, the converter's step and resampling
back, as in the service but without sockets. The process is pinned to one core and torch to one
thread. A block's time is the wall time of all of that; its RTF is that over the block's length.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks import tables
from benchmarks.results import CORES, RESULTS, ROOT, save
from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.client.summary import describe
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, FloatArray
from fast_vc_service.engine.families import FAMILIES, build_converter
from fast_vc_service.engine.stream import Stream

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SOURCE = ROOT / "wavs" / "sources" / "low-pitched-male-24k.wav"
REFERENCE = ROOT / "wavs" / "references" / "ref-24k.wav"
ALL_ENGINES = [
    *(name for name, family in FAMILIES.items() if not family.downloads),
    *("nano:file", "world:file"),
]
WARM_UP_BLOCKS = 3
PUSH_MS = 20


def speech(seconds: float, rate: int) -> FloatArray:
    """Return ``seconds`` of the sample speech ``[n]`` at ``rate`` Hz, repeated as needed."""
    audio, source_rate = read_audio(SOURCE)
    return np.resize(resample(audio, source_rate, rate), round(seconds * rate))


def measure(converter: Converter, *, seconds: float, rate: int) -> dict[str, Any]:
    """Time one session of ``seconds`` at ``rate`` Hz both ways, block by block."""
    voice = converter.make_voice("benchmark", *read_audio(REFERENCE))
    state = converter.new_state(voice)
    stream = Stream(converter, rate_in=rate, rate_out=rate)
    audio = speech(seconds, rate)
    push = rate * PUSH_MS // 1000
    whole_s: list[float] = []
    step_s: list[float] = []
    since_block_s = 0.0
    for start in range(0, len(audio), push):
        began = time.perf_counter()
        stream.push(audio[start : start + push])
        ready = False
        while (block := stream.take_block()) is not None:
            ready = True
            before = time.perf_counter()
            converted = converter.step(block[None], [state])[0]
            step_s.append(time.perf_counter() - before)
            stream.accept(converted)
        since_block_s += time.perf_counter() - began
        if ready:
            whole_s.append(since_block_s)
            since_block_s = 0.0
    step_ms = 1e3 * np.array(step_s[WARM_UP_BLOCKS:])
    whole_ms = 1e3 * np.array(whole_s[WARM_UP_BLOCKS:])
    block_ms = 1e3 * converter.block / SAMPLE_RATE_IN
    return {
        "block_ms": block_ms,
        "delay_ms": stream.delay_ms,
        "rate_hz": rate,
        "blocks": len(whole_ms),
        "step_ms": describe(step_ms),
        "whole_ms": describe(whole_ms),
        "rtf": describe(whole_ms / block_ms),
    }


@app.command()
def main(
    engine: Annotated[
        list[str],
        typer.Option(help="Engine to measure, ENGINE:file for its long blocks; may be repeated."),
    ] = ALL_ENGINES,
    seconds: Annotated[float, typer.Option(help="Seconds of speech.")] = 60.0,
    rate: Annotated[int, typer.Option(help="Hz of the client, both ways.")] = 16_000,
    latency_ms: Annotated[
        int | None, typer.Option(help="Latency setting; the engine's own by default.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
) -> None:
    """Measure the real-time factor of engines on one core."""
    core = CORES[-1]
    pinned = hasattr(os, "sched_setaffinity")
    if pinned:
        os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    rows = []
    for spec in engine:
        name, _, geometry = spec.partition(":")
        whole = geometry == "file"
        converter = build_converter(
            name, geometry="file" if whole else "live", latency_ms=None if whole else latency_ms
        )
        rows.append({"engine": spec, **measure(converter, seconds=seconds, rate=rate)})
    path = save("rtf", output, pinned_to_one_core=pinned, seconds=seconds, engines=rows)
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
