"""The microphone and the loudspeaker of this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from fast_vc_service.audio.live_mixdown import LiveMixdown
from fast_vc_service.contract import FloatArray
from fast_vc_service.protocol.limits import PCM_RATES_HZ

CHUNK_S = 0.02
Capture = Callable[[FloatArray], None]
Render = Callable[[int], FloatArray]


class DevicesError(Exception):
    """There is no sound card to use; the message says why."""


class Devices(Protocol):
    """A microphone and a loudspeaker; callbacks come in threads of their own."""

    def rates_hz(self) -> tuple[int, int]:
        """Return the rates of input and output."""
        ...

    def microphone_name(self) -> str:
        """Return what the microphone is called, the same each time."""
        ...

    def record(self, rate: int, capture: Capture) -> AbstractContextManager[object]:
        """Call ``capture`` with mono ``[n]`` for as long as the context lasts.

        Of a microphone with several channels the first two are heard, mixed down so that no
        speech is lost.
        """
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
        rate_in, rate_out = (
            min(PCM_RATES_HZ[1], round(self._about(which)["default_samplerate"]))
            for which in (0, 1)
        )
        return rate_in, rate_out

    def microphone_name(self) -> str:
        """See :class:`Devices`."""
        return str(self._about(0)["name"])

    def record(self, rate: int, capture: Capture) -> AbstractContextManager[object]:
        """See :class:`Devices`."""
        mixdown = LiveMixdown(rate)

        def heard(block: FloatArray, _frames: int, _time: object, _status: object) -> None:
            capture(block[:, 0].copy() if block.shape[1] == 1 else mixdown.push(block[:, :2]))

        available = int(self._about(0)["max_input_channels"])
        stream = self._sound.InputStream
        try:
            return self._open(stream, 0, rate, heard, channels=min(2, max(1, available)))
        except DevicesError:
            # Some arrays of microphones are only opened with all their channels.
            if available <= 2:
                raise
            return self._open(stream, 0, rate, heard, channels=available)

    def play(self, rate: int, render: Render) -> AbstractContextManager[object]:
        """See :class:`Devices`."""

        def wanted(block: FloatArray, frames: int, _time: object, _status: object) -> None:
            block[:, 0] = render(frames)

        return self._open(self._sound.OutputStream, 1, rate, wanted)

    def _about(self, which: int) -> Any:
        """What is known of the microphone (0) or the loudspeaker (1)."""
        try:
            return self._sound.query_devices(self._devices[which], ("input", "output")[which])
        except (ValueError, self._sound.PortAudioError) as error:
            raise DevicesError(f"no such sound card: {error}; see --list-devices") from error

    def _open(
        self,
        kind: Any,
        which: int,
        rate: int,
        callback: Callable[..., None],
        channels: int = 1,
    ) -> AbstractContextManager[object]:
        try:
            opened: AbstractContextManager[object] = kind(
                samplerate=rate,
                device=self._devices[which],
                channels=channels,
                dtype="float32",
                blocksize=round(rate * CHUNK_S),
                latency="low",
                callback=callback,
            )
        except (ValueError, self._sound.PortAudioError) as error:
            raise DevicesError(f"the sound card cannot be opened: {error}") from error
        return opened
