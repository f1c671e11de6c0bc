"""The client for programs without an event loop: the same session, driven from a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from fast_vc_service.client.client import DEFAULT_URL, VoiceClient
from fast_vc_service.client.protocol_types import Ready
from fast_vc_service.contract import FloatArray
from fast_vc_service.protocol.voice_choice import JsonVoice

Result = TypeVar("Result")


class LoopThread:
    """An event loop in a thread of its own, for as long as the context lasts."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def run(self, work: Any) -> Any:
        """Run an awaitable in the loop; return what it returns, raise what it raises."""
        return asyncio.run_coroutine_threadsafe(_awaited(work), self._loop).result()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class SyncVoiceClient:
    """One session without ``async``: send from one thread, iterate in another (or the same).

    ::

        with SyncVoiceClient("ws://localhost:8042/ws", voice="alto") as client:
            client.send(samples)  # float32, mono, 16 kHz
            client.end()
            for converted in client:
                play(converted)

    The connection is read all the time, so that nothing is lost when everything is sent first.

    Args:
        url: Address of the service.
        options: As of :class:`~fast_vc_service.client.VoiceClient`.

    Raises:
        ValueError: See there.
        VoiceServiceError: See there; also from every method.
    """

    def __init__(self, url: str = DEFAULT_URL, **options: Any) -> None:
        self._client = VoiceClient(url, **options)
        self._loop = LoopThread()

    @property
    def ready(self) -> Ready | None:
        """The server's hello."""
        return self._client.ready

    @property
    def stats(self) -> Mapping[str, Any] | None:
        """Statistics of the server's last message; None until then."""
        return self._client.stats

    @property
    def source_f0_hz(self) -> float | None:
        """Register of the speaker for the next session; see there."""
        return self._client.source_f0_hz

    def __enter__(self) -> Self:
        """Connect and open the session."""
        self._loop.__enter__()
        try:
            self._loop.run(self._client.__aenter__())
        except BaseException:
            self._loop.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection; input that is not converted yet is discarded by the server."""
        try:
            self._loop.run(self._client.__aexit__(kind, error, trace))
        finally:
            self._loop.__exit__(kind, error, trace)

    def send(self, samples: FloatArray) -> None:
        """Send mono audio ``[n]`` within [-1, 1]; waits while the server reads slower than this."""
        self._loop.run(self._client.send(samples))

    def flush(self) -> None:
        """Send silence, so that the output of all that was sent so far comes; see there."""
        self._loop.run(self._client.flush())

    def marker(self, marker_id: str | int) -> None:
        """Ask to be told when the output has reached this place of the input."""
        self._loop.run(self._client.marker(marker_id))

    def update(self, *, voice: JsonVoice | None = None, pitch_shift: float | None = None) -> None:
        """Change the voice or the pitch shift (semitones) from this place of the input on."""
        self._loop.run(self._client.update(voice=voice, pitch_shift=pitch_shift))

    def end(self) -> None:
        """Tell the server that no more audio follows; iterate on until the end."""
        self._loop.run(self._client.end())

    def __iter__(self) -> Iterator[FloatArray]:
        """Yield converted audio ``[n]`` as it comes, until the session is complete."""
        hearing = aiter(self._client)
        while (samples := self._loop.run(anext(hearing, None))) is not None:
            yield samples


async def _awaited(work: Coroutine[Any, Any, Result]) -> Result:
    return await work
