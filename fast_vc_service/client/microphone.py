"""A microphone through the service and out of a loudspeaker: ``fast-vc mic``."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Unpack

import numpy as np

from fast_vc_service.client.client import DEFAULT_URL, VoiceClient
from fast_vc_service.client.errors import VoiceServiceError
from fast_vc_service.client.messages import Notice, Ready, SessionOptions, Warned
from fast_vc_service.client.playout import PlayoutBuffer
from fast_vc_service.contract import FloatArray

CHUNK_S = 0.02
MAX_RATE_HZ = 48_000
DRAIN_S = 0.2
"""What a sound card may still hold when the last sample was handed to it."""

Capture = Callable[[FloatArray], None]
Render = Callable[[int], FloatArray]


class DevicesError(Exception):
    """There is no sound card to use; the message says why."""


class Devices(Protocol):
    """A microphone and a loudspeaker; callbacks come in threads of their own."""

    def rates_hz(self) -> tuple[int, int]:
        """Return the rates of input and output."""
        ...

    def record(self, rate: int, capture: Capture) -> AbstractContextManager[object]:
        """Call ``capture`` with mono ``[n]`` for as long as the context lasts."""
        ...

    def play(self, rate: int, render: Render) -> AbstractContextManager[object]:
        """Play what ``render(n)`` returns, mono ``[n]``, for as long as the context lasts."""
        ...


class SoundCards:
    """The devices of this machine, by the optional package ``sounddevice``.

    Args:
        input_device: Name or number as :meth:`listing` shows it; None is the system's choice.
        output_device: The same.

    Raises:
        DevicesError: The package or its library is missing.
    """

    def __init__(
        self, input_device: str | int | None = None, output_device: str | int | None = None
    ) -> None:
        try:
            import sounddevice
        except (ImportError, OSError) as error:
            raise DevicesError(
                f"sound cards cannot be used ({error}); install the extra `mic` "
                "(`uv pip install 'fast-vc-service[mic]'`) and, on Linux, libportaudio2"
            ) from error
        self._sound: Any = sounddevice
        self._devices = (input_device, output_device)

    def listing(self) -> str:
        """Return what there is, a line a device."""
        return str(self._sound.query_devices())

    def rates_hz(self) -> tuple[int, int]:
        """See :class:`Devices`."""
        try:
            found = [
                self._sound.query_devices(device, kind)["default_samplerate"]
                for device, kind in zip(self._devices, ("input", "output"), strict=True)
            ]
        except (ValueError, self._sound.PortAudioError) as error:
            raise DevicesError(f"no such sound card: {error}; see --list-devices") from error
        rate_in, rate_out = (min(MAX_RATE_HZ, round(rate)) for rate in found)
        return rate_in, rate_out

    def record(self, rate: int, capture: Capture) -> AbstractContextManager[object]:
        """See :class:`Devices`."""

        def heard(block: FloatArray, _frames: int, _time: object, _status: object) -> None:
            capture(block[:, 0].copy())

        return self._open(self._sound.InputStream, 0, rate, heard)

    def play(self, rate: int, render: Render) -> AbstractContextManager[object]:
        """See :class:`Devices`."""

        def wanted(block: FloatArray, frames: int, _time: object, _status: object) -> None:
            block[:, 0] = render(frames)

        return self._open(self._sound.OutputStream, 1, rate, wanted)

    def _open(
        self, kind: Any, which: int, rate: int, callback: Callable[..., None]
    ) -> AbstractContextManager[object]:
        try:
            opened: AbstractContextManager[object] = kind(
                samplerate=rate,
                device=self._devices[which],
                channels=1,
                dtype="float32",
                blocksize=round(rate * CHUNK_S),
                latency="low",
                callback=callback,
            )
        except (ValueError, self._sound.PortAudioError) as error:
            raise DevicesError(f"the sound card cannot be opened: {error}") from error
        return opened


@dataclass
class Heard:
    """What became of a live session.

    Attributes:
        ready: The server's hello.
        underruns: How often there was nothing to play.
        warnings: What the server warned of.
        stats: The server's statistics.
    """

    ready: Ready | None = None
    underruns: int = 0
    warnings: int = 0
    stats: dict[str, Any] | None = None


async def talk(
    devices: Devices,
    *,
    url: str = DEFAULT_URL,
    buffer_ms: float = 60.0,
    seconds: float | None = None,
    ca_file: Path | None = None,
    on_ready: Callable[[Ready], None] = lambda _ready: None,
    on_warning: Callable[[Warned], None] = lambda _warning: None,
    **options: Unpack[SessionOptions],
) -> Heard:
    """Convert what the microphone hears and play it, until cancelled or for ``seconds``.

    Args:
        devices: Microphone and loudspeaker.
        url: Address of the service.
        buffer_ms: Audio kept back against jitter of network and machine.
        seconds: How much to say; None is no end.
        ca_file: PEM certificate to trust with ``wss://``.
        on_ready: Told the server's hello.
        on_warning: Told each warning of the server.
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

    client = VoiceClient(
        url,
        tls=None if ca_file is None else ssl.create_default_context(cafile=ca_file),
        on_notice=notice,
        **options,
    )
    buffer = PlayoutBuffer(rate_out, buffer_ms / 1e3)
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[FloatArray] = asyncio.Queue()
    left = None if seconds is None else round(seconds * rate_in)

    def capture(samples: FloatArray) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended before the card
            loop.call_soon_threadsafe(chunks.put_nowait, samples)

    async def speak() -> None:
        nonlocal left
        while left is None or left > 0:
            samples = await chunks.get()
            if left is not None:
                samples = samples[:left]
                left -= len(samples)
            await client.send(np.clip(samples, -1.0, 1.0))
        await client.end()

    async with client:
        if client.ready is None:
            raise RuntimeError("the standard dialect always says ready")
        heard.ready = client.ready
        on_ready(client.ready)
        with devices.play(rate_out, buffer.pull), devices.record(rate_in, capture):
            speaking = asyncio.create_task(speak())
            try:
                async for samples in client:
                    buffer.push(samples)
                await speaking
                buffer.end()
                await asyncio.sleep(buffer.waiting_s + DRAIN_S)
            finally:
                speaking.cancel()
                await asyncio.gather(speaking, return_exceptions=True)
    heard.underruns = buffer.underruns
    heard.stats = dict(client.stats or {})
    return heard


def run(
    devices: Devices,
    *,
    url: str,
    buffer_ms: float,
    seconds: float | None,
    ca_file: Path | None,
    options: SessionOptions,
) -> int:
    """Talk until Ctrl-C, telling on stderr how it goes; return the exit status."""

    def ready(told: Ready) -> None:
        sys.stderr.write(
            f"speaking as {told.voice}: {told.latency_ms:.0f} ms by the service, {buffer_ms:.0f} "
            "ms kept against jitter, and what the sound card adds; use headphones; Ctrl-C ends\n"
        )

    def warned(told: Warned) -> None:
        sys.stderr.write(f"warning: {told.code}: {told.message}\n")

    try:
        heard = asyncio.run(
            talk(
                devices,
                url=url,
                buffer_ms=buffer_ms,
                seconds=seconds,
                ca_file=ca_file,
                on_ready=ready,
                on_warning=warned,
                **options,
            )
        )
    except KeyboardInterrupt:
        return 0
    except (VoiceServiceError, DevicesError) as error:
        sys.stderr.write(f"fast-vc: {error}\n")
        return 1
    sys.stderr.write(f"{heard.underruns} gaps, {heard.warnings} warnings\n")
    return 0
