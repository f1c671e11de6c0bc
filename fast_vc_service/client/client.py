"""The client: one session with the service over one WebSocket connection."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self, Unpack

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from fast_vc_service.audio.codecs import (
    CorruptAudioError,
    OpusUnavailableError,
    make_decoder,
    make_encoder,
)
from fast_vc_service.audio.opus import FRAME_MS
from fast_vc_service.client.connection import open_connection, why_ended
from fast_vc_service.client.errors import (
    CLIENT_TIMEOUT,
    CONNECTION_LOST,
    OPUS_UNAVAILABLE,
    PROTOCOL_ERROR,
    VoiceServiceError,
)
from fast_vc_service.client.messages import (
    Complete,
    Dialect,
    Failed,
    Notice,
    Ready,
    SessionOptions,
    end_message,
    first_message,
    parse,
)
from fast_vc_service.client.output import OutputTrack
from fast_vc_service.client.records import VoiceChoice
from fast_vc_service.client.timeline import Timeline, now
from fast_vc_service.contract import FloatArray

DEFAULT_URL = "ws://localhost:8042/ws"
DEFAULT_RATE_HZ = 16_000
DEFAULT_BITRATE = 32_000

ANSWER_TIMEOUT_S = 60.0
"""How long a server may owe an answer without a sign of life."""

_OWED_MARGIN_MS = 1_000.0


class VoiceClient:
    """One session: speech goes in by :meth:`send`, converted speech comes out by iteration.

    ::

        async with VoiceClient("ws://localhost:8042/ws", voice="alto") as client:

            async def speak() -> None:
                async for samples in microphone:  # float32, mono, 16 kHz
                    await client.send(samples)
                await client.end()

            speaking = asyncio.create_task(speak())
            async for converted in client:  # float32, mono, 16 kHz
                play(converted)
            await speaking

    The connection is read all the time, whether or not anybody iterates, so that a server never
    waits for this client; what has not been taken yet is kept in memory.

    With Opus the delay of both encoders and the padding at the end are removed: output is aligned
    with what was sent, and as long (unless ``trim_delay`` is False).

    Args:
        url: Address of the service, ``ws://`` or ``wss://``.
        dialect: ``"standard"``, or ``"simple"`` for what older clients say. The simple one has no
            :attr:`ready`, no markers, no updates and no statistics.
        bitrate: Bits a second of Opus that is sent.
        answer_timeout_s: How long the server may owe an answer without a sign of life.
        tls: Certificates to trust with ``wss://``; None means the system's.
        timeline: Notes every message of audio, if given.
        on_notice: Called with each warning, marker, update and announcement, in order with the
            audio that is iterated over.
        options: What to ask of the server; see :class:`SessionOptions`.

    Attributes:
        ready: The server's hello; None in the simple dialect and before entering.
        stats: Statistics of the server's last message; None until then, empty in the simple
            dialect.

    Raises:
        ValueError: An option is out of range here, or unknown to the dialect.
        VoiceServiceError: Opus was asked for and libopus is not installed.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        dialect: Dialect = "standard",
        bitrate: int = DEFAULT_BITRATE,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
        timeline: Timeline | None = None,
        on_notice: Callable[[Notice], None] | None = None,
        **options: Unpack[SessionOptions],
    ) -> None:
        self.ready: Ready | None = None
        self.stats: Mapping[str, Any] | None = None
        self._url = url
        self._dialect: Dialect = dialect
        self._hello = first_message(dialect, options)
        self._tls = tls
        self._timeline = timeline
        self._on_notice = on_notice
        self._answer_timeout_s = answer_timeout_s

        self._rate_in = options.get("sample_rate", DEFAULT_RATE_HZ)
        self._rate_out = options.get("sample_rate_out", DEFAULT_RATE_HZ)
        self._trimmed = options.get("trim_delay", True)
        encoding_in = options.get("encoding", "PCM")
        self._encoding_out = options.get("encoding_out", "PCM")
        try:
            self._encoder = make_encoder(
                encoding_in, self._rate_in, bitrate, options.get("opus_frame_duration", FRAME_MS)
            )
            self._track = self._make_track(pre_skip_samples=0)
        except OpusUnavailableError as error:
            raise VoiceServiceError(OPUS_UNAVAILABLE, str(error)) from error
        self._opus_in = encoding_in == "OPUS"

        self._given_samples = 0
        self._sent_samples = 0
        self._sending = False
        self._ended = False
        self._refusal: Failed | None = None
        self._failure: VoiceServiceError | None = None
        self._answered = asyncio.Event()
        self._heard_s = 0.0
        self._items: asyncio.Queue[FloatArray | Notice | None] = asyncio.Queue()
        self._connection: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    # ------------------------------------------------------------- life cycle

    async def __aenter__(self) -> Self:
        """Connect and open the session.

        Raises:
            VoiceServiceError: The service cannot be reached, or refuses.
        """
        connection = await open_connection(
            self._url, timeout_s=self._answer_timeout_s, tls=self._tls
        )
        self._connection = connection
        self._heard_s = now()
        self._reader = asyncio.create_task(self._read(connection))
        self._watch = asyncio.create_task(self._watch_over(connection))
        try:
            await self._transmit(self._hello)
            if self._dialect == "standard":
                await self._answered.wait()
                if self.ready is None:
                    raise await self._reason()
        except BaseException:
            await self._close(connection)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection; input that is not converted yet is discarded by the server."""
        if self._connection is not None:
            await self._close(self._connection)

    # ------------------------------------------------------------------ input

    async def send(self, samples: FloatArray, *, due_s: float | None = None) -> None:
        """Send mono audio ``[n]`` within [-1, 1], any n; Opus keeps back what fills no packet.

        Waits while the server reads slower than this.

        Args:
            samples: Audio at ``sample_rate``.
            due_s: When it should go out, by the clock of :func:`timeline.now`; for the timeline.

        Raises:
            VoiceServiceError: The session has failed.
            RuntimeError: After :meth:`end`.
        """
        if self._ended:
            raise RuntimeError("send() after end(); open a new session")
        self._given_samples += len(samples)
        await self._send_audio(self._encoder.encode(samples), due_s)

    async def marker(self, marker_id: str | int) -> None:
        """Ask to be told when the output has reached this place of the input.

        Raises:
            ValueError: In the simple dialect.
            VoiceServiceError: The session has failed.
        """
        await self._send_control("marker", id=marker_id)

    async def update(
        self, *, voice: VoiceChoice | None = None, pitch_shift: float | None = None
    ) -> None:
        """Change voice (a name or a blend) or pitch shift (semitones) from this place of the input.

        Raises:
            ValueError: In the simple dialect.
            VoiceServiceError: The session has failed.
        """
        asked = {"voice": voice, "pitch_shift": pitch_shift}
        await self._send_control(
            "update", **{name: value for name, value in asked.items() if value is not None}
        )

    async def end(self, *, due_s: float | None = None) -> None:
        """Tell the server that no more audio follows; a second call does nothing.

        Iterate on until the end: the rest of the output is still to come.

        Args:
            due_s: As in :meth:`send`, for what the Opus encoder has kept back.

        Raises:
            VoiceServiceError: The session has failed.
        """
        if self._ended:
            return
        self._ended = True
        if self._trimmed and (self._opus_in or self._encoding_out == "OPUS"):
            # floor(n * out / in + 1/2), what the server makes of n samples
            doubled = 2 * self._given_samples * self._rate_out + self._rate_in
            self._track.cut_at(doubled // (2 * self._rate_in))
        await self._send_audio(self._encoder.flush(), due_s)
        await self._transmit(end_message(self._dialect))

    # ----------------------------------------------------------------- output

    async def __aiter__(self) -> AsyncIterator[FloatArray]:
        """Yield converted audio ``[n]`` as it comes, until the session is complete.

        Raises:
            VoiceServiceError: The session has failed; what was converted before was yielded.
        """
        while (item := await self._items.get()) is not None:
            if not isinstance(item, Notice):
                yield item
            elif self._on_notice is not None:
                self._on_notice(item)
        self._items.put_nowait(None)
        if self._failure is not None:
            raise self._failure
        if self.stats is None and self._reader is not None:
            await self._reader

    # ---------------------------------------------------------------- sending

    async def _send_audio(self, payloads: list[bytes], due_s: float | None) -> None:
        for payload in payloads:
            self._sent_samples += self._encoder.packet_samples or len(payload) // 2
            if self._timeline is not None:
                self._timeline.add_send(self._sent_ms, due_s=due_s, actual_s=now())
            await self._transmit(payload)

    async def _send_control(self, kind: str, **members: object) -> None:
        if self._dialect == "simple":
            raise ValueError(f"{kind}: the simple dialect cannot say it; use the standard one")
        await self._transmit(json.dumps({"type": kind, **members}))

    async def _transmit(self, message: str | bytes) -> None:
        if self._connection is None:
            raise RuntimeError("the session is not open; use `async with`")
        if self._failure is not None:
            raise self._failure
        self._sending = True
        try:
            await self._connection.send(message)
        except ConnectionClosed:
            raise await self._reason() from None
        finally:
            self._sending = False

    async def _reason(self) -> VoiceServiceError:
        """Return why the session is over, once all that the server said has been read."""
        if self._reader is not None:
            await asyncio.wait({self._reader})
        return self._failure or VoiceServiceError(
            CONNECTION_LOST, "the server ended the session before the client did"
        )

    # ---------------------------------------------------------------- reading

    async def _read(self, connection: ClientConnection) -> None:
        try:
            while True:
                message = await connection.recv()
                self._heard_s = now()
                if isinstance(message, bytes):
                    self._take_audio(message)
                else:
                    self._take_text(message)
        except ConnectionClosed as closed:
            if self._failure is None and self.stats is None:
                self._failure = why_ended(closed, self._refusal)
        except VoiceServiceError as error:
            self._failure = error
            connection.transport.abort()
        finally:
            self._answered.set()
            self._items.put_nowait(None)

    def _take_audio(self, payload: bytes) -> None:
        try:
            samples = self._track.decode(payload)
        except CorruptAudioError as error:
            raise VoiceServiceError(
                PROTOCOL_ERROR, f"the server sent bad audio: {error}"
            ) from error
        if self._timeline is not None:
            self._timeline.add_recv(self._track.received_ms, self._heard_s)
        if len(samples):
            self._items.put_nowait(samples)

    def _take_text(self, text: str) -> None:
        message = parse(text)
        if isinstance(message, Ready):
            self.ready = message
            self._track = self._make_track(message.opus_pre_skip_samples)
            self._answered.set()
        elif isinstance(message, Complete):
            self.stats = message.stats
        elif isinstance(message, Failed):
            self._refusal = message
        elif message is not None:
            self._items.put_nowait(message)

    def _make_track(self, pre_skip_samples: int) -> OutputTrack:
        return OutputTrack(
            make_decoder(self._encoding_out, self._rate_out),
            self._rate_out,
            pre_skip_samples=pre_skip_samples,
            lead_samples=self._encoder.pre_skip_samples * self._rate_out // self._rate_in,
        )

    # ----------------------------------------------------------------- ending

    async def _watch_over(self, connection: ClientConnection) -> None:
        """Give up when the server owes an answer and shows no sign of life."""
        while True:
            await asyncio.sleep(min(1.0, self._answer_timeout_s / 4))
            if not self._is_owed():
                self._heard_s = now()
            elif now() - self._heard_s > self._answer_timeout_s:
                break
        if self._refusal is None:
            self._failure = VoiceServiceError(
                CLIENT_TIMEOUT,
                f"the server said nothing for {self._answer_timeout_s:g} s",
                {"hint": "the service hangs or the network is gone; `fast-vc status` tells more"},
            )
        connection.transport.abort()

    def _is_owed(self) -> bool:
        if self.stats is not None:
            return False
        if self._sending or self._ended or self._refusal is not None:
            return True
        if self._dialect == "simple":
            return False
        if self.ready is None:
            return True
        latency_ms = self.ready.latency_ms
        outstanding_ms = self._sent_ms - self._track.received_ms
        return latency_ms is not None and outstanding_ms > latency_ms + _OWED_MARGIN_MS

    @property
    def _sent_ms(self) -> float:
        return self._sent_samples * 1e3 / self._rate_in

    async def _close(self, connection: ClientConnection) -> None:
        # The reader goes on meanwhile: unread output would keep the close handshake waiting.
        await connection.close()
        for task in (self._watch, self._reader):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
