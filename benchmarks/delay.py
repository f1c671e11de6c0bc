"""The delay of an engine, measured at the socket of a real server.

    python -m benchmarks.delay --engine passthrough --engine world

A client sends isolated events in real time, each chunk when its last sample would have been
captured, and looks for them in what comes back:

- *offset*: where an event lies in the output, minus where it lay in the input. To be 0 when the
  server trims its delay, and the declared ``delay_ms`` when it does not. ``passthrough`` gets
  chirps and a matched filter; converters get bursts of speech, found by cross-correlation of
  energy envelopes of 1 ms, since they keep the rhythm of speech but not its waveform.
- *heard after*: how long after a sound was made a listener hears it who plays the output without
  gaps: the offset plus the lead that the arrival of each message asks for. To be the declared
  ``latency_ms`` plus computing and network. A block that ends in the middle of a chunk (look-ahead
  of resampling is enough for that) also waits for the rest of the chunk, so this is measured with
  chunks of 2 ms and with the usual ones of 20 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from benchmarks import tables
from benchmarks.results import RESULTS, ROOT, save
from benchmarks.service import running_service
from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.client.protocol_types import Ready, SessionOptions
from fast_vc_service.client.run import Plan, run_clip
from fast_vc_service.client.summary import describe
from fast_vc_service.contract import FloatArray

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SOURCE = ROOT / "wavs" / "sources" / "low-pitched-male-24k.wav"
ENGINES = ["passthrough", "world", "nano"]
CHUNKS_MS = [2, 20]
EVENT_S = 0.3
GAP_S = 0.7
EVENTS = 8
Signal = npt.NDArray[np.float64]
MARGIN_MS = 150
"""Silence on either side that belongs to an event: its edges tell the most."""

SEARCH_MS = 600
"""How far from its place in the input an event is looked for."""


@dataclass(frozen=True)
class Session:
    """What a session gave back.

    Attributes:
        ready: The server's hello.
        output: All of its audio ``[n]``, at the rate of the input.
        leads_ms: For each message: arrival of its first sample minus that sample's place in the
            output, by a clock that starts with the capture of the first input sample.
    """

    ready: Ready
    output: FloatArray
    leads_ms: list[float]


def chirp(rate: int) -> FloatArray:
    """Return a sweep from 300 to 3000 Hz with soft edges, ``[EVENT_S * rate]``."""
    time_s = np.arange(round(EVENT_S * rate)) / rate
    phase = 2 * np.pi * (300 * time_s + (3000 - 300) / (2 * EVENT_S) * time_s**2)
    return (0.5 * np.hanning(len(time_s)) * np.sin(phase)).astype(np.float32)


def speech_bursts(rate: int) -> list[FloatArray]:
    """Return the loudest stretches of the sample speech, faded in and out over 10 ms."""
    audio = resample(*read_audio(SOURCE), rate)
    length = round(EVENT_S * rate)
    stretches = audio[: len(audio) // length * length].reshape(-1, length)
    loudest = np.sort(np.argsort(-(stretches**2).sum(axis=1))[:EVENTS])
    ramp = np.minimum(1, np.arange(length) / (0.01 * rate)).astype(np.float32)
    return [stretch * ramp * ramp[::-1] for stretch in stretches[loudest]]


def laid_out(events: Sequence[FloatArray], rate: int) -> tuple[FloatArray, list[int]]:
    """Return ``events`` one after the other with silence around, and where each begins."""
    gap = np.zeros(round(GAP_S * rate), np.float32)
    pieces, starts, length = [gap], [], len(gap)
    for event in events:
        starts.append(length)
        pieces += [event, gap]
        length += len(event) + len(gap)
    return np.concatenate(pieces), starts


def envelope(audio: FloatArray, rate: int) -> FloatArray:
    """Return the RMS of each whole millisecond, ``[ms]``."""
    length = rate // 1000
    milliseconds = audio[: len(audio) // length * length].reshape(-1, length)
    rms: FloatArray = np.sqrt((milliseconds**2).mean(axis=1))
    return rms


def offset_of(event: FloatArray, start: int, output: FloatArray, search: int) -> float:
    """Return by how many samples ``event`` lies behind ``start`` in ``output``.

    The peak of the cross-correlation, normalised by the energy under the event, within
    ``search`` samples on either side; between samples by a parabola.
    """
    first = max(0, start - search)
    stretch = output[first : start + len(event) + search].astype(np.float64)
    pattern = (event - event.mean()).astype(np.float64)
    products = _correlated(stretch, pattern)
    mean = _summed(stretch, len(event)) / len(event)
    power = _summed(stretch**2, len(event))
    spread = np.sqrt(np.maximum(power - len(event) * mean**2, 0))
    # Next to silence any shape would fit perfectly: it must also be loud.
    likeness = products / np.maximum(spread, 0.1 * spread.max() + 1e-12)
    peak = int(likeness.argmax())
    fraction = 0.0
    if 0 < peak < len(likeness) - 1:
        before, at, after = likeness[peak - 1 : peak + 2]
        fraction = 0.5 * (before - after) / (before - 2 * at + after)
    return first + peak + fraction - start


def _correlated(stretch: Signal, pattern: Signal) -> Signal:
    """Return the products of ``pattern`` with each stretch of its length, by the FFT."""
    size = len(stretch) + len(pattern)
    spectrum = np.fft.rfft(stretch, size) * np.conj(np.fft.rfft(pattern, size))
    return np.fft.irfft(spectrum, size)[: len(stretch) - len(pattern) + 1]


def _summed(stretch: Signal, length: int) -> Signal:
    """Return the sums of each ``length`` values in a row."""
    sums = np.concatenate([[0.0], np.cumsum(stretch)])
    windows: Signal = sums[length:] - sums[:-length]
    return windows


def offsets(
    made: FloatArray, heard: FloatArray, starts: Sequence[int], rate: int, per_ms: int
) -> list[float]:
    """Return by how many values each event of ``made`` lies behind its place in ``heard``.

    Args:
        made: What was sent, ``per_ms`` values a millisecond.
        heard: What came back, likewise.
        starts: Where the events begin, in samples at ``rate``.
        rate: Hz of the audio.
        per_ms: Values a millisecond.
    """
    found = []
    for start in starts:
        first = (start * 1000 // rate - MARGIN_MS) * per_ms
        length = (round(EVENT_S * 1000) + 2 * MARGIN_MS) * per_ms
        found.append(offset_of(made[first : first + length], first, heard, SEARCH_MS * per_ms))
    return found


def converse(url: str, audio: FloatArray, rate: int, *, chunk_ms: int, trim_delay: bool) -> Session:
    """Send ``audio`` in real time and collect the output.

    Raises:
        VoiceServiceError: The session failed.
    """
    options = SessionOptions(sample_rate=rate, sample_rate_out=rate, trim_delay=trim_delay)
    outcome = asyncio.run(run_clip(audio, Plan(url=url, chunk_ms=chunk_ms, options=options)))
    if outcome.error is not None:
        raise outcome.error
    assert outcome.ready is not None
    captured_s = outcome.timeline.sends[0].timestamp - chunk_ms / 1e3
    leads_ms, place_ms = [], 0.0
    for receive in outcome.timeline.recvs:
        leads_ms.append(1e3 * (receive.timestamp - captured_s) - place_ms)
        place_ms = receive.cumulative_ms
    return Session(outcome.ready, outcome.output, leads_ms)


def measure(url: str, engine: str, rate: int, *, chunk_ms: int, trim_delay: bool) -> dict[str, Any]:
    """Measure the delay of one session on the server at ``url``."""
    by_waveform = engine == "passthrough"
    events = [chirp(rate)] * EVENTS if by_waveform else speech_bursts(rate)
    audio, starts = laid_out(events, rate)
    session = converse(url, audio, rate, chunk_ms=chunk_ms, trim_delay=trim_delay)
    if by_waveform:
        made, heard, per_ms = audio, session.output, rate // 1000
    else:
        made, heard, per_ms = envelope(audio, rate), envelope(session.output, rate), 1
    offsets_ms = np.array(offsets(made, heard, starts, rate, per_ms)) / per_ms
    ready = session.ready
    return {
        "engine": engine,
        "trim_delay": trim_delay,
        "rate_hz": rate,
        "chunk_ms": chunk_ms,
        "block_ms": ready.block_ms,
        "declared_offset_ms": 0.0 if trim_delay else ready.delay_ms,
        "offset_ms": describe(offsets_ms),
        "declared_latency_ms": ready.latency_ms,
        "heard_after_ms": describe(float(np.median(offsets_ms)) + np.array(session.leads_ms)),
    }


@app.command()
def main(
    engine: Annotated[
        list[str], typer.Option(help="Engine to measure; may be repeated.")
    ] = ENGINES,
    rate: Annotated[int, typer.Option(help="Hz of the client, both ways.")] = 48_000,
    chunk_ms: Annotated[
        list[int], typer.Option(help="Milliseconds a message; may be repeated.")
    ] = CHUNKS_MS,
    latency_ms: Annotated[
        int | None, typer.Option(help="Latency setting; the engine's own by default.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
) -> None:
    """Measure the delay of engines at the socket and compare it with the declared one."""
    runs = []
    for name in engine:
        with running_service(name, latency_ms=latency_ms) as server:
            runs += [
                measure(server.url, name, rate, chunk_ms=chunk, trim_delay=trim)
                for trim in (True, False)
                for chunk in chunk_ms
            ]
    path = save("delay", output, runs=runs)
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
