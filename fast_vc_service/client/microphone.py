"""A microphone through the service and out of a loudspeaker: ``fast-vc mic``."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from fast_vc_service.client.both_ways import both_ways
from fast_vc_service.client.client import DEFAULT_URL, VoiceClient
from fast_vc_service.client.errors import VoiceServiceError
from fast_vc_service.client.messages import Notice
from fast_vc_service.client.playout import PlayoutBuffer
from fast_vc_service.client.protocol_types import Ready, SessionOptions, Warned
from fast_vc_service.client.push_to_talk import PushToTalk
from fast_vc_service.client.registers import RememberedRegisters
from fast_vc_service.client.sound_cards import (
    Capture,
    Devices,
    DevicesError,
    Render,
    SoundCards,
)
from fast_vc_service.contract import FloatArray

__all__ = [
    "Capture",
    "Devices",
    "DevicesError",
    "Heard",
    "PushToTalk",
    "Render",
    "SoundCards",
    "run",
    "talk",
]

DRAIN_S = 0.2
"""What a sound card may still hold when the last sample was handed to it."""

KEEP_ALIVE_S = 20.0
"""How long a session stays without a message while nobody talks; services end one that is idle."""


@dataclass
class Heard:
    """What became of a live session.

    Attributes:
        ready: The server's hello.
        underruns: How often there was nothing to play.
        warnings: What the server warned of.
        stats: The server's statistics.
        source_f0_hz: Register of the speaker as the server has learned it, for the next session.
    """

    ready: Ready | None = None
    underruns: int = 0
    warnings: int = 0
    stats: dict[str, Any] | None = None
    source_f0_hz: float | None = None


async def talk(
    devices: Devices,
    *,
    url: str = DEFAULT_URL,
    buffer_ms: float = 60.0,
    seconds: float | None = None,
    ca_file: Path | None = None,
    on_ready: Callable[[Ready], None] = lambda _ready: None,
    on_warning: Callable[[Warned], None] = lambda _warning: None,
    is_talking: Callable[[], bool] = lambda: True,
    stop: asyncio.Event | None = None,
    **options: Unpack[SessionOptions],
) -> Heard:
    """Convert what the microphone hears and play it, until ``stop`` is set or for ``seconds``.

    Args:
        devices: Microphone and loudspeaker.
        url: Address of the service.
        buffer_ms: Audio kept back against jitter of network and machine.
        seconds: How much to hear; None is no end.
        ca_file: PEM certificate to trust with ``wss://``.
        on_ready: Told the server's hello.
        on_warning: Told each warning of the server.
        is_talking: Push to talk: asked with each piece of audio whether it is to be sent. When
            talking stops, the session is flushed, so that the last word is heard at once.
        stop: When it is set no more is heard; what was said until then is still played.
        options: What to ask of the server; the rates are those of the devices.

    Raises:
        VoiceServiceError: The session failed.
        DevicesError: A sound card cannot be opened.
    """
    rate_in, rate_out = devices.rates_hz()
    options["sample_rate"], options["sample_rate_out"] = rate_in, rate_out
    heard = Heard()

    def notice(told: Notice) -> None:
        if isinstance(told, Warned):
            heard.warnings += 1
            on_warning(told)

    tls = None if ca_file is None else ssl.create_default_context(cafile=ca_file)
    client = VoiceClient(url, tls=tls, on_notice=notice, **options)
    buffer = PlayoutBuffer(rate_out, buffer_ms / 1e3)
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[FloatArray | None] = asyncio.Queue()

    def capture(samples: FloatArray) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended before the card
            loop.call_soon_threadsafe(chunks.put_nowait, samples)

    async def play() -> None:
        async for samples in client:
            buffer.push(samples)

    async with client:
        if client.ready is None:
            raise RuntimeError("the standard dialect always says ready")
        heard.ready = client.ready
        on_ready(client.ready)
        with devices.play(rate_out, buffer.pull), devices.record(rate_in, capture):
            pieces = _pieces(chunks, rate_in, seconds, stop or asyncio.Event())
            await both_ways(_speak(client, pieces, buffer, rate_in, is_talking), play())
            buffer.end()
            await asyncio.sleep(buffer.waiting_s + DRAIN_S)
    heard.underruns = buffer.underruns
    heard.stats, heard.source_f0_hz = dict(client.stats or {}), client.source_f0_hz
    return heard


async def _end_with(stop: asyncio.Event, chunks: asyncio.Queue[FloatArray | None]) -> None:
    await stop.wait()
    chunks.put_nowait(None)


async def _pieces(
    chunks: asyncio.Queue[FloatArray | None],
    rate: int,
    seconds: float | None,
    stop: asyncio.Event,
) -> AsyncIterator[FloatArray]:
    """Yield what the microphone hears, ``[n]`` within [-1, 1], for ``seconds`` or until stopped."""
    left = None if seconds is None else round(seconds * rate)
    stopping = asyncio.create_task(_end_with(stop, chunks))
    try:
        while left is None or left > 0:
            heard = await chunks.get()
            if heard is None:
                return
            samples = heard[:left]
            if left is not None:
                left -= len(samples)
            yield np.clip(samples, -1.0, 1.0)
    finally:
        stopping.cancel()


async def _speak(
    client: VoiceClient,
    pieces: AsyncIterator[FloatArray],
    buffer: PlayoutBuffer,
    rate: int,
    is_talking: Callable[[], bool],
) -> None:
    """Send ``pieces`` while somebody talks, then end the input."""
    talked = False
    quiet = 0
    async for samples in pieces:
        if is_talking():
            buffer.resume()
            await client.send(samples)
            talked, quiet = True, 0
        elif talked:
            await client.flush()
            buffer.end()
            talked = False
        elif (quiet := quiet + len(samples)) >= KEEP_ALIVE_S * rate:
            await client.send(np.zeros_like(samples))
            quiet = 0
    await client.end()


def run(
    devices: Devices,
    *,
    url: str,
    buffer_ms: float,
    seconds: float | None,
    ca_file: Path | None,
    push_to_talk: bool = False,
    registers: RememberedRegisters | None = None,
    options: SessionOptions,
) -> int:
    """Talk until Ctrl-C, telling on stderr how it goes; return the exit status.

    What the service learns of the speaker is remembered in ``registers`` for this microphone, and
    told to it the next time.
    """
    options = options.copy()
    microphone = _recall(devices, registers, options)

    def ready(told: Ready) -> None:
        sys.stderr.write(
            f"speaking as {told.voice}: {told.latency_ms:.0f} ms by the service, {buffer_ms:.0f} "
            "ms kept against jitter, and what the sound card adds; use headphones; Ctrl-C ends\n"
        )
        if push_to_talk:
            sys.stderr.write("press Enter to talk, and Enter again to stop\n")

    def warned(told: Warned) -> None:
        sys.stderr.write(f"warning: {told.code}: {told.message}\n")

    def changed(talking: bool) -> None:
        sys.stderr.write("talking\n" if talking else "not talking\n")

    key = PushToTalk(sys.stdin, changed) if push_to_talk else None
    try:
        heard = asyncio.run(
            _until_interrupted(
                functools.partial(
                    talk,
                    devices,
                    url=url,
                    buffer_ms=buffer_ms,
                    seconds=seconds,
                    ca_file=ca_file,
                    on_ready=ready,
                    on_warning=warned,
                    is_talking=lambda: key is None or key.talking,
                    **options,
                )
            )
        )
    except KeyboardInterrupt:
        return 0
    except (VoiceServiceError, DevicesError) as error:
        sys.stderr.write(f"fast-vc: {error}\n")
        return 1
    if registers is not None and microphone is not None and heard.source_f0_hz is not None:
        registers.remember(microphone, heard.source_f0_hz)
    sys.stderr.write(f"{heard.underruns} gaps, {heard.warnings} warnings\n")
    return 0


def _recall(
    devices: Devices, registers: RememberedRegisters | None, options: SessionOptions
) -> str | None:
    """Add what is remembered of this microphone's speaker; return the microphone's name."""
    if registers is None:
        return None
    try:
        microphone = devices.microphone_name()
    except DevicesError:
        return None  # opening it will say why
    known_f0_hz = registers.get(microphone)
    if known_f0_hz is not None and "source_f0_hz" not in options:
        options["source_f0_hz"] = known_f0_hz
        sys.stderr.write(
            f"who spoke into {microphone} last had a register of {known_f0_hz:.0f} Hz, which this "
            "session starts from; --new-speaker forgets it\n"
        )
    return microphone


async def _until_interrupted(talking: Callable[..., Awaitable[Heard]]) -> Heard:
    """Talk until the first Ctrl-C, which ends the session in order; the second one cuts it off."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    # Where a loop knows no signals (Windows), the first Ctrl-C cuts it off.
    with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
        loop.add_signal_handler(signal.SIGINT, interrupted)
    return await talking(stop=stop)
