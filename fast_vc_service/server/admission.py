"""From a client's wish to a session with a slot, or to the error that refuses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from fast_vc_service import __version__
from fast_vc_service.audio.codecs import (
    Decoder,
    Encoder,
    OpusUnavailableError,
    make_decoder,
    make_encoder,
)
from fast_vc_service.contract import SAMPLE_RATE_IN, CannotBlendError, Voice
from fast_vc_service.engine.placement import CapacityError
from fast_vc_service.engine.scheduler import Slot
from fast_vc_service.engine.stream import Stream
from fast_vc_service.engine.voices import UnknownVoiceError
from fast_vc_service.server.service import Service
from fast_vc_service.sessions.errors import ErrorCode, SessionError
from fast_vc_service.sessions.events import Ready, Start
from fast_vc_service.sessions.recorder import Recorder
from fast_vc_service.sessions.session import Session


class Admission:
    """Opens the session of one client.

    Args:
        service: Whose slot it takes.
        owner: Name of the client's key, or None.
        connection_id: Names the session if the client has not.
    """

    def __init__(self, service: Service, owner: str | None, connection_id: str) -> None:
        self._service = service
        self._owner = owner
        self._connection_id = connection_id

    async def admit(
        self, start: Start, *, send_now: Callable[[bytes], bool]
    ) -> tuple[Session, Ready]:
        """Find the voice, then take a slot; nothing is taken before.

        Args:
            start: The validated first message.
            send_now: See :class:`Session`.

        Returns:
            The session, which the caller closes, and what to tell the client of it.

        Raises:
            SessionError: BUSY, INVALID_CONFIG or UNKNOWN_VOICE.
        """
        service = self._service
        if service.state != "ready":
            raise SessionError(
                ErrorCode.BUSY,
                f"the service is {service.state}",
                hint="try again" if service.state == "starting" else "use another server",
                retry_after_s=service.retry_after_s(),
            )
        decoder, encoder = _codecs(start)
        voice = await self._find_voice(start.voice or service.engine.voices.default)
        stream = Stream(
            service.engine.converter,
            rate_in=start.sample_rate,
            rate_out=start.sample_rate_out,
            trim_delay=start.trim_delay,
            codec_delay_s=encoder.pre_skip_samples / start.sample_rate_out,
        )
        slot = self._take_slot(start, voice)
        recorder = self._recorder(start, stream)
        session = Session(
            start=start,
            voice=voice,
            slot=slot,
            stream=stream,
            decoder=decoder,
            encoder=encoder,
            find_voice=self._lookup_voice,
            limits=service.session_limits,
            observer=service.observer,
            recorder=recorder,
            send_now=send_now,
        )
        return session, self._ready(start, voice, stream, encoder.pre_skip_samples, recorder)

    def _take_slot(self, start: Start, voice: Voice) -> Slot:
        service = self._service
        try:
            return service.engine.open(
                voice,
                start.pitch_shift,
                start.seed,
                post=asyncio.get_running_loop().call_soon_threadsafe,
            )
        except CapacityError as error:
            raise SessionError(
                ErrorCode.BUSY,
                "the service is full",
                got=str(error),
                hint="try again later or on another server",
                retry_after_s=service.retry_after_s(),
            ) from error

    async def _find_voice(self, name: str) -> Voice:
        try:
            return await self._lookup_voice(name)
        except UnknownVoiceError as error:
            raise SessionError(
                ErrorCode.UNKNOWN_VOICE,
                str(error),
                expected="one of details.available",
                got=name,
                available=list(error.available),
            ) from error
        except CannotBlendError as error:
            raise SessionError(
                ErrorCode.INVALID_CONFIG,
                f"voice: {error}",
                expected=f"one voice, with the engine {self._service.engine.name}",
                got="a blend",
                hint="choose one of GET /voices",
            ) from error
        except ValueError as error:
            raise SessionError(
                ErrorCode.UNKNOWN_VOICE,
                f"the clip of voice {name!r} makes no voice: {error}",
                expected="one of details.available",
                got=name,
                available=self._service.engine.voices.names(self._owner),
            ) from error

    async def _lookup_voice(self, name: str) -> Voice:
        voices = self._service.engine.voices
        made = voices.made(name, self._owner)
        return made if made is not None else await asyncio.to_thread(voices.get, name, self._owner)

    def _recorder(self, start: Start, stream: Stream) -> Recorder | None:
        recording = self._service.recording
        wanted = recording.enabled if start.record is None else start.record and recording.enabled
        if not wanted:
            return None
        return Recorder(
            recording.folder,
            start.session_id or self._connection_id,
            datetime.now(UTC),
            start.sample_rate,
            start.sample_rate_out,
            realtime=start.realtime,
            lead_ms=0.0 if start.trim_delay else stream.delay_ms,
        )

    def _ready(
        self,
        start: Start,
        voice: Voice,
        stream: Stream,
        pre_skip_samples: int,
        recorder: Recorder | None,
    ) -> Ready:
        service = self._service
        limits = service.limits
        block_ms = stream.block / SAMPLE_RATE_IN * 1e3
        return Ready(
            session_id=start.session_id or self._connection_id,
            message="session is ready, send audio",
            sample_rate_out=start.sample_rate_out,
            encoding_out=start.encoding_out,
            opus_pre_skip_samples=pre_skip_samples,
            voice=voice.name,
            engine=service.engine.name,
            block_ms=block_ms,
            delay_ms=stream.delay_ms,
            latency_ms=block_ms + stream.delay_ms,
            recording=recorder is not None,
            max_message_bytes=limits.max_message_bytes,
            idle_timeout_s=limits.idle_timeout_s,
            max_session_s=limits.max_session_s,
            max_buffered_ms=service.session_limits.max_buffered_ms,
            server_version=__version__,
        )


def _codecs(start: Start) -> tuple[Decoder, Encoder]:
    try:
        return (
            make_decoder(
                start.encoding, start.sample_rate, start.bit_depth, start.opus_frame_duration
            ),
            make_encoder(start.encoding_out, start.sample_rate_out, start.bitrate_out),
        )
    except OpusUnavailableError as error:
        raise SessionError(
            ErrorCode.INVALID_CONFIG,
            f"the server has no libopus: {error}",
            expected="encoding PCM",
            got="encoding OPUS",
            hint=str(error),
        ) from error
