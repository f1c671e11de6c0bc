"""An hour of speech through one session of an engine: delay, memory and level must not move.

    python -m benchmarks.soak --engine nano
    python -m benchmarks.soak --chaos --engine passthrough --minutes 5

The speech goes through the whole Stream as fast as the machine allows. Each minute is described by
the resident memory, the level of its output against that of its input, and where its output lies:
the lag at which the energy envelopes (5 ms) of both correlate best.

With ``--chaos`` everything happens at once to a real service instead, see :mod:`.chaos`; the exit
status is 1 when that has left a trace.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import torch
import typer

from benchmarks import chaos, tables
from benchmarks.results import RESULTS, ROOT, save
from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, FloatArray
from fast_vc_service.engine.families import build_converter
from fast_vc_service.engine.stream import Stream

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SOURCES = ROOT / "wavs" / "sources"
REFERENCE = ROOT / "wavs" / "references" / "ref-24k.wav"
PIECE_S = 60
HOP = SAMPLE_RATE_IN // 200
SEARCH_HOPS = 60


def speech() -> FloatArray:
    """All sample sources one after the other, ``[samples]`` at 16 kHz."""
    pieces = []
    for path in sorted(SOURCES.glob("*.wav")):
        audio, rate = read_audio(path)
        pieces.append(resample(audio, rate, SAMPLE_RATE_IN))
    return np.concatenate(pieces).astype(np.float32)


def level_db(audio: FloatArray) -> float:
    """Level in dB of full scale."""
    return float(10 * np.log10(np.mean(np.square(audio, dtype=np.float64)) + 1e-12))


def lag_ms(heard: FloatArray, said: FloatArray) -> float:
    """By how much ``said`` comes after ``heard``."""

    def envelope(audio: FloatArray) -> Any:
        power = np.square(audio[: len(audio) // HOP * HOP], dtype=np.float64)
        level = np.log(power.reshape(-1, HOP).mean(1) + 1e-6)
        return level - level.mean()

    one, two = envelope(heard), envelope(said)
    lags = range(-SEARCH_HOPS, SEARCH_HOPS + 1)
    inner = slice(SEARCH_HOPS, len(one) - SEARCH_HOPS)
    scores = [float(one[inner] @ np.roll(two, -lag)[inner]) for lag in lags]
    return 1e3 * HOP / SAMPLE_RATE_IN * lags[int(np.argmax(scores))]


def measure(converter: Converter, minutes: int) -> list[dict[str, float]]:
    """One row a minute."""
    voice = converter.make_voice("benchmark", *read_audio(REFERENCE))
    state = converter.new_state(voice)
    stream = Stream(converter, rate_in=SAMPLE_RATE_IN, rate_out=SAMPLE_RATE_IN)
    material = speech()
    process = psutil.Process()
    heard = said = np.zeros(0, np.float32)
    rows = []
    for minute in range(minutes):
        first = minute * PIECE_S * SAMPLE_RATE_IN
        fresh = np.take(material, np.arange(first, first + PIECE_S * SAMPLE_RATE_IN), mode="wrap")
        began = time.process_time()
        stream.push(fresh)
        if minute == minutes - 1:
            stream.end()
        out = [said]
        while (block := stream.take_block()) is not None:
            out.append(stream.accept(converter.step(block[None], [state])[0]))
        cpu_s = time.process_time() - began
        heard, said = np.concatenate([heard, fresh]), np.concatenate(out)
        # What is still to come of this minute comes with the next.
        whole = min(len(said), len(heard))
        rows.append(
            {
                "minute": minute + 1,
                "memory_mb": process.memory_info().rss / 2**20,
                "level_db": level_db(said[:whole]) - level_db(heard[:whole]),
                "lag_ms": lag_ms(heard[:whole], said[:whole]),
                "rtf": cpu_s / PIECE_S,
            }
        )
        heard, said = heard[whole:], said[whole:]
        typer.echo("  ".join(f"{name} {value:.2f}" for name, value in rows[-1].items()))
    return rows


@app.command()
def main(
    engine: Annotated[str, typer.Option(help="Engine to listen to.")] = "nano",
    minutes: Annotated[int, typer.Option(help="Minutes of speech.", min=2)] = 60,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
    with_chaos: Annotated[
        bool, typer.Option("--chaos", help="Have everything happen to a real service instead.")
    ] = False,
) -> None:
    """Stream an hour and describe each minute."""
    if with_chaos:
        told = chaos.measure(engine, minutes)
        path = save("chaos", output, engine=engine, minutes=minutes, **told.as_json())
        for counted in (told.events, told.uploads, told.sessions, told.growth()):
            typer.echo(", ".join(f"{name}: {value:g}" for name, value in counted.items()))
        for fault in told.faults:
            typer.echo(fault, err=True)
        typer.echo(f"written: {path}")
        raise typer.Exit(bool(told.faults))
    torch.set_num_threads(1)
    rows = measure(build_converter(engine), minutes)
    path = save("soak", output, engine=engine, minutes=rows)
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
