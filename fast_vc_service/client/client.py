"""The client: one session with the service over one WebSocket connection."""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self, Unpack

from fast_vc_service.audio.codecs import (
    CorruptAudioError,
    OpusUnavailableError,
    make_decoder,
    make_encoder,
)
from fast_vc_service.audio.opus import FRAME_MS
from fast_vc_service.client.connection import open_connection
from fast_vc_service.client.errors import (
    OPUS_UNAVAILABLE,
    PROTOCOL_ERROR,
    VoiceServiceError,
)
from fast_vc_service.client.input import InputTrack
from fast_vc_service.client.live_connection import LiveConnection
from fast_vc_service.client.messages import (
    Complete,
    Failed,
    Notice,
    end_message,
    first_message,
    parse,
)
from fast_vc_service.client.output import OutputTrack
from fast_vc_service.client.protocol_types import Ready, SessionOptions
from fast_vc_service.client.timeline import Timeline, now
from fast_vc_service.contract import FloatArray
from fast_vc_service.protocol.limits import implied_rate_hz
from fast_vc_service.protocol.members import Dialect
from fast_vc_service.protocol.voice_choice import JsonVoice

DEFAULT_URL = "ws://localhost:8042/ws"
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
        source_f0_hz: Register of the speaker (median F0) as that message tells it, for the next
            session's option of this name; None until then, and while too little was said.

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
        self._complete: Complete | None = None
        self._dialect: Dialect = dialect
        self._hello = first_message(dialect, options)
        self._open = functools.partial(open_connection, url, timeout_s=answer_timeout_s, tls=tls)
        self._answer_timeout_s = answer_timeout_s
        self._timeline = timeline
        self._on_notice = on_notice

        encodings = options.get("encoding", "PCM"), options.get("encoding_out", "PCM")
        rate_in = options.get("sample_rate", implied_rate_hz(encodings[0]))
        rate_out = options.get("sample_rate_out", implied_rate_hz(encodings[1]))
        try:
            encoder = make_encoder(
                encodings[0], rate_in, bitrate, options.get("opus_frame_duration", FRAME_MS)
            )
            decoder = make_decoder(encodings[1], rate_out)
        except OpusUnavailableError as error:
            raise VoiceServiceError(OPUS_UNAVAILABLE, str(error)) from error
        self._input = InputTrack(encoder, rate_in)
        self._output = OutputTrack(
            decoder, rate_out, lead_samples=self._input.lead_samples(rate_out)
        )
        self._cuts_padding = options.get("trim_delay", True) and "OPUS" in encodings

        self._ended = False
        self._answered = asyncio.Event()
        self._items: asyncio.Queue[FloatArray | Notice | None] = asyncio.Queue()
        self._live: LiveConnection | None = None

    @property
    def stats(self) -> Mapping[str, Any] | None:  # noqa: D102 (an attribute, told above)
        return None if self._complete is None else self._complete.stats

    @property
    def source_f0_hz(self) -> float | None:  # noqa: D102 (an attribute, told above)
        return None if self._complete is None else self._complete.source_f0_hz

    # ------------------------------------------------------------- life cycle

    async def __aenter__(self) -> Self:
        """Connect and open the session.

        Raises:
            VoiceServiceError: The service cannot be reached, or refuses.
        """
        self._live = live = LiveConnection(
            await self._open(),
            take=self._take,
            is_owed=self._is_owed,
            on_end=self._wake_all,
            answer_timeout_s=self._answer_timeout_s,
        )
        try:
            await live.send(self._hello)
            if self._dialect == "standard":
                await self._answered.wait()
                if self.ready is None:
                    raise await live.why_over()
        except BaseException:
            await live.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection; input that is not converted yet is discarded by the server."""
        if self._live is not None:
            await self._live.close()

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
        await self._send_audio(self._input.encode(samples), due_s)

    async def flush(self) -> None:
        """Send silence, so that the output of all that was sent so far comes without more input.

        For push to talk: the service converts whole blocks and looks ahead, so the end of the last
        word stays with it until as much audio follows as its latency. The silence is input like
        any other, the output is longer by it, and the session goes on.

        Raises:
            ValueError: In the simple dialect, whose server does not tell its latency.
            VoiceServiceError: The session has failed, or the server does not tell its latency.
            RuntimeError: After :meth:`end`.
        """
        if self._dialect == "simple":
            raise ValueError(
                "flush: the simple dialect does not tell the latency; use the standard"
            )
        latency_ms = None if self.ready is None else self.ready.latency_ms
        if latency_ms is None:
            raise VoiceServiceError(
                PROTOCOL_ERROR,
                "the server does not tell its latency",
                {"expected": "latency_ms in ready", "hint": "send silence with send() instead"},
            )
        await self.send(self._input.silence(latency_ms))

    async def marker(self, marker_id: str | int) -> None:
        """Ask to be told when the output has reached this place of the input.

        Raises:
            ValueError: In the simple dialect.
            VoiceServiceError: The session has failed.
        """
        await self._send_control("marker", id=marker_id)

    async def update(
        self, *, voice: JsonVoice | None = None, pitch_shift: float | None = None
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
        if self._cuts_padding:
            self._output.cut_at(self._input.converted_samples(self._output.sample_rate))
        await self._send_audio(self._input.flush(), due_s)
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
        if self._live is None:
            return
        if self._live.failure is not None:
            raise self._live.failure
        if self.stats is None:
            await self._live.read_to_end()

    # ---------------------------------------------------------------- sending

    async def _send_audio(self, payloads: list[bytes], due_s: float | None) -> None:
        for payload in payloads:
            self._input.count(payload)
            if self._timeline is not None:
                self._timeline.add_send(self._input.sent_ms, due_s=due_s, actual_s=now())
            await self._transmit(payload)

    async def _send_control(self, kind: str, **members: object) -> None:
        if self._dialect == "simple":
            raise ValueError(f"{kind}: the simple dialect cannot say it; use the standard one")
        await self._transmit(json.dumps({"type": kind, **members}))

    async def _transmit(self, message: str | bytes) -> None:
        if self._live is None:
            raise RuntimeError("the session is not open; use `async with`")
        await self._live.send(message)

    # ---------------------------------------------------------------- reading

    def _take(self, live: LiveConnection, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._take_audio(live, message)
        else:
            self._take_text(live, message)

    def _take_audio(self, live: LiveConnection, payload: bytes) -> None:
        try:
            samples = self._output.decode(payload)
        except CorruptAudioError as error:
            raise VoiceServiceError(
                PROTOCOL_ERROR, f"the server sent bad audio: {error}"
            ) from error
        if self._timeline is not None:
            self._timeline.add_recv(self._output.received_ms, live.heard_s)
        if len(samples):
            self._items.put_nowait(samples)

    def _take_text(self, live: LiveConnection, text: str) -> None:
        message = parse(text)
        if isinstance(message, Ready):
            self.ready = message
            self._output.skip_first(message.opus_pre_skip_samples)
            self._answered.set()
        elif isinstance(message, Complete):
            self._complete = message
            live.complete = True
        elif isinstance(message, Failed):
            live.refusal = message
        elif message is not None:
            self._items.put_nowait(message)

    def _is_owed(self) -> bool:
        if self._ended:
            return True
        if self._dialect == "simple":
            return False
        if self.ready is None:
            return True
        latency_ms = self.ready.latency_ms
        outstanding_ms = self._input.sent_ms - self._output.received_ms
        return latency_ms is not None and outstanding_ms > latency_ms + _OWED_MARGIN_MS

    def _wake_all(self) -> None:
        """Let nobody wait for what will not come."""
        self._answered.set()
        self._items.put_nowait(None)
