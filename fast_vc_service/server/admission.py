"""From a client's first message to a session with a slot, or to the error that refuses it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from loguru import logger

from fast_vc_service import __version__
from fast_vc_service.audio.codecs import (
    Decoder,
    Encoder,
    OpusUnavailableError,
    make_decoder,
    make_encoder,
)
from fast_vc_service.contract import SAMPLE_RATE_IN, CannotBlendError, Voice
from fast_vc_service.engine.build import ADVICE
from fast_vc_service.engine.capacity import CapacityError
from fast_vc_service.engine.scheduler import Slot
from fast_vc_service.engine.stream import Stream
from fast_vc_service.process.worker.work import WorkFailedError
from fast_vc_service.protocol.codes import ErrorCode
from fast_vc_service.protocol.opening import Ready, Start
from fast_vc_service.protocol.voice_choice import VoiceChoice, as_found, to_text
from fast_vc_service.server.service import Service
from fast_vc_service.server.threads import find_voice
from fast_vc_service.sessions.errors import SessionError
from fast_vc_service.sessions.recorder import Recorder
from fast_vc_service.sessions.session import Session
from fast_vc_service.voices.folder import UnknownVoiceError


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
        """Find the voice, then take a slot; nothing is taken before, and nothing kept on an error.

        The slot is taken on the event loop, so that no two take the last one; the state, which may
        cost as much as a block, is made in a thread.

        Args:
            start: The validated first message.
            send_now: See :class:`Session`.

        Returns:
            The session, which the caller closes, and what to tell the client of it.

        Raises:
            SessionError: BUSY, INVALID_CONFIG or UNKNOWN_VOICE.
        """
        service = self._service
        self._check_ready()
        chosen = start.voice or service.voices.default
        start = replace(start, voice=chosen)
        decoder, encoder = _codecs(start)
        voice = await self._find_voice(chosen)
        with contextlib.ExitStack() as taken:
            slot = self._reserve()
            taken.callback(slot.close)
            try:
                await asyncio.to_thread(
                    slot.make_state, voice, start.pitch_shift, start.seed, start.source_f0_hz
                )
            except CapacityError as error:
                raise self._full(error) from error
            # Whoever has told the sessions to end since then did not know of this one.
            self._check_ready()
            stream = Stream(
                service.engine.converter,
                rate_in=start.sample_rate,
                rate_out=start.sample_rate_out,
                trim_delay=start.trim_delay,
                codec_delay_s=encoder.pre_skip_samples / start.sample_rate_out,
            )
            recorder = self._recorder(start, stream)
            if recorder is not None:
                taken.callback(recorder.close)
            session = Session(
                start=start,
                voice=voice,
                slot=slot,
                stream=stream,
                decoder=decoder,
                encoder=encoder,
                find_voice=functools.partial(self._find_change, slot),
                limits=service.session_limits,
                observer=service.observer,
                recorder=recorder,
                send_now=send_now,
            )
            ready = self._ready(start, voice, stream, encoder.pre_skip_samples, recorder)
            taken.pop_all()
        return session, ready

    def _check_ready(self) -> None:
        state = self._service.state
        if state != "ready":
            raise SessionError(
                ErrorCode.BUSY,
                f"the service is {state}",
                hint="try again" if state == "starting" else "use another server",
                retry_after_s=self._service.retry_after_s(),
            )

    def _reserve(self) -> Slot:
        service = self._service
        try:
            return service.engine.reserve(
                post=asyncio.get_running_loop().call_soon_threadsafe, log_id=self._connection_id
            )
        except CapacityError as error:
            raise self._full(error) from error

    def _full(self, error: CapacityError) -> SessionError:
        return SessionError(
            ErrorCode.BUSY,
            "the service is full",
            got=str(error),
            hint="try again later or on another server",
            retry_after_s=self._service.retry_after_s(),
            reason=error.why,
            operator_hint=f"{ADVICE}, add a machine, or set max_sessions",
        )

    async def _find_voice(self, chosen: VoiceChoice) -> Voice:
        try:
            return await find_voice(self._service.voices, chosen, self._owner)
        except UnknownVoiceError as error:
            raise SessionError(
                ErrorCode.UNKNOWN_VOICE,
                str(error),
                expected="one of details.available",
                got=to_text(chosen),
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
        except WorkFailedError as error:
            raise SessionError(
                ErrorCode.BUSY,
                "the voice cannot be made at present",
                got=str(error),
                hint="try again later or choose another voice",
                retry_after_s=self._service.retry_after_s(),
            ) from error
        except ValueError as error:
            raise SessionError(
                ErrorCode.UNKNOWN_VOICE,
                f"the clip of voice {to_text(chosen)!r} makes no voice: {error}",
                expected="one of details.available",
                got=to_text(chosen),
                available=await asyncio.to_thread(self._service.voices.names, self._owner),
            ) from error

    async def _find_change(self, slot: Slot, chosen: VoiceChoice) -> Voice:
        """Return the voice that a live session changes to, ready to be spoken with."""
        try:
            voice = await find_voice(self._service.voices, chosen, self._owner)
        except WorkFailedError as error:
            raise ValueError(f"the voice cannot be made at present: {error}") from error
        return await asyncio.to_thread(slot.prepare, voice)

    def _recorder(self, start: Start, stream: Stream) -> Recorder | None:
        recording = self._service.recording
        wanted = recording.enabled if start.record is None else start.record and recording.enabled
        if not wanted:
            return None
        try:
            return Recorder(
                recording.folder,
                start.session_id or self._connection_id,
                datetime.now(UTC),
                start.sample_rate,
                start.sample_rate_out,
                label=start.label,
                realtime=start.realtime,
                lead_ms=0.0 if start.trim_delay else stream.delay_ms,
            )
        except Exception:
            logger.exception("a session is not recorded, since its recording cannot begin")
            return None

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
            voice=as_found(start.voice or voice.name, voice.name),
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
            label=start.label,
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
