"""What a session is asked for and what the server answers, as a client sees it.

Written by scripts/protocol.py from fast_vc_service/protocol; do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from fast_vc_service.client.from_json import FromJson
from fast_vc_service.protocol.limits import Encoding
from fast_vc_service.protocol.voice_choice import JsonVoice


class SessionOptions(TypedDict, total=False):
    """What a client may ask for; what is left out is the server's choice.

    The simple dialect knows only ``session_id``, ``api_key``, ``sample_rate``, ``encoding``,
    ``opus_frame_duration``, ``sample_rate_out``, ``encoding_out``, ``voice``, ``source_f0_hz``.

    Attributes:
        session_id: 1 to 128 characters, no control characters; echoed unchanged. It need not be
            unique.
        api_key: The key, if the server has keys; or send the header Authorization: Bearer KEY.
        sample_rate: Hz of the input. PCM: any whole number from 8000 to 48000. Opus: 8000, 12000,
            16000, 24000 or 48000. G.711: 8000, also when it is left out.
        encoding: "PCM", "OPUS", or of telephone lines "MULAW" or "ALAW" (G.711, a byte a sample),
            upper or lower case.
        opus_frame_duration: ms a packet; a hint, each packet's own header decides.
        sample_rate_out: Hz of the output; the same rates as sample_rate, by encoding_out.
        encoding_out: "PCM" (16-bit little-endian mono), "OPUS" (packets of 20 ms, one a message),
            "MULAW" or "ALAW".
        bitrate_out: Bit/s of Opus output, 6000 to 510000.
        voice: Name of a voice that the server has, or a blend: names with weights.
        pitch_shift: Semitones, -24 to 24, on top of the match to the voice's register.
        trim_delay: True: output starts at the first sample of the input and lasts as long as the
            input. false: it starts with delay_ms of silence and lasts that much longer.
        realtime: True: a live conversation. false: an upload; it is slowed down when the server is
            busy, but none of it is ever silenced.
        seed: Seed of the noise in the voice; the same audio and seed give the same output.
        record: False: do not record this session, whatever the server's setting.
        label: 1 to 128 characters, no control characters; echoed in ready and kept in the timeline
            of a recording, never logged.
        source_f0_hz: The register of the speaker, if it is known: median F0 in Hz, 50 to 1100, as
            an earlier session has told it at its end, or as measured in a recording.
    """

    session_id: str
    api_key: str
    sample_rate: int
    encoding: Encoding
    opus_frame_duration: float
    sample_rate_out: int
    encoding_out: Encoding
    bitrate_out: int
    voice: JsonVoice
    pitch_shift: float
    trim_delay: bool
    realtime: bool
    seed: int
    record: bool
    label: str
    source_f0_hz: float


@dataclass(frozen=True, slots=True)
class Ready(FromJson):
    """The server's answer: what the session is and what it costs in time.

    None: an older server that does not say.

    Attributes:
        session_id: As asked for, or made by the server.
        message: A sentence for a person.
        sample_rate_out: Hz of the audio to come.
        encoding_out: Its encoding.
        opus_pre_skip_samples: Decoded samples to drop from the start of Opus output.
        voice: The voice in use; of a blend names with shares.
        engine: The server's engine.
        block_ms: Audio the server converts at a time: a sample waits until its block is full.
        delay_ms: By how much output trails its input, the block itself not counted.
        latency_ms: block_ms + delay_ms; computing and network come on top.
        recording: Whether the server records the session.
        limits: max_message_bytes, idle_timeout_s, max_session_s, max_buffered_ms.
        server_version: The server's version.
        label: As asked for.
    """

    session_id: str = ""
    message: str = ""
    sample_rate_out: int | None = None
    encoding_out: Encoding | None = None
    opus_pre_skip_samples: int = 0
    voice: JsonVoice | None = None
    engine: str | None = None
    block_ms: float | None = None
    delay_ms: float | None = None
    latency_ms: float | None = None
    recording: bool | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    server_version: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class MarkerReached(FromJson):
    """The output has reached a marker; how much audio was received and sent by then, in ms."""

    id: str | int
    received_ms: float
    sent_ms: float


@dataclass(frozen=True, slots=True)
class Updated(FromJson):
    """From ``from_sent_ms`` of output on, another voice or pitch shift (semitones) is heard."""

    voice: JsonVoice
    pitch_shift: float
    from_sent_ms: float


@dataclass(frozen=True, slots=True)
class Warned(FromJson):
    """Something the session survives; ``silenced_ms`` counts since its start."""

    code: str
    message: str = ""
    silenced_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class GoingAway(FromJson):
    """The service is about to stop; ``in_s`` seconds are left."""

    in_s: float


SERVER_TYPES: Mapping[str, type[Ready | MarkerReached | Updated | Warned | GoingAway]] = {
    "ready": Ready,
    "marker": MarkerReached,
    "updated": Updated,
    "warning": Warned,
    "going_away": GoingAway,
}
"""By the value of ``type``."""
