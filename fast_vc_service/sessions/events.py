"""What a client asks of a session and what a session answers, free of any wire format.

A dialect (``server/protocols``) turns frames into the first kind and the second kind into frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fast_vc_service.sessions.errors import WarningCode

Encoding = Literal["PCM", "OPUS"]


@dataclass(frozen=True, slots=True)
class Start:
    """The validated first message of a session; defaults are the wire's."""

    session_id: str | None = None
    api_key: str | None = None
    sample_rate: int = 16_000
    bit_depth: int = 16
    encoding: Encoding = "PCM"
    opus_frame_duration: float = 20
    sample_rate_out: int = 16_000
    encoding_out: Encoding = "PCM"
    bitrate_out: int = 32_000
    voice: str | None = None
    pitch_shift: float = 0.0
    trim_delay: bool = True
    realtime: bool = True
    seed: int = 0
    record: bool | None = None


@dataclass(frozen=True, slots=True)
class Marker:
    """Echo ``id`` when the output has reached this place of the input."""

    id: str | int


@dataclass(frozen=True, slots=True)
class Update:
    """Change voice and/or pitch shift (semitones) from the next block; None leaves it as it is."""

    voice: str | None = None
    pitch_shift: float | None = None


@dataclass(frozen=True, slots=True)
class End:
    """No more input follows."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A text message that changes nothing but must be answered with a warning."""

    code: WarningCode
    message: str


ControlEvent = Marker | Update | End | Refused


@dataclass(frozen=True, slots=True)
class Ready:
    """The hello: what the session is and what it will cost in time."""

    session_id: str
    message: str
    sample_rate_out: int
    encoding_out: Encoding
    opus_pre_skip_samples: int
    voice: str
    engine: str
    block_ms: float
    delay_ms: float
    latency_ms: float
    recording: bool
    max_message_bytes: int
    idle_timeout_s: float
    max_session_s: float
    max_buffered_ms: float
    server_version: str


@dataclass(frozen=True, slots=True)
class MarkerReached:
    """Answer to :class:`Marker`: audio received and sent so far, in ms."""

    id: str | int
    received_ms: float
    sent_ms: float


@dataclass(frozen=True, slots=True)
class Updated:
    """Answer to :class:`Update`; precedes the first output it affects."""

    voice: str
    pitch_shift: float
    from_sent_ms: float


@dataclass(frozen=True, slots=True)
class Warned:
    """Something went wrong that the session survives; ``silenced_ms`` counts since its start."""

    code: WarningCode
    message: str
    silenced_ms: float


@dataclass(frozen=True, slots=True)
class GoingAway:
    """The service drains; ``in_s`` seconds are left."""

    in_s: float


@dataclass(frozen=True, slots=True)
class Complete:
    """All output has been sent. Times in ms; the spec's ``stats`` object."""

    total_processed_ms: float
    chunks_processed: int
    average_latency_ms: float
    received_ms: float
    sent_ms: float
    sent_samples: int
    silenced_ms: float
    concealed_ms: float
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    real_time_factor: dict[str, float | None]
    is_real_time: bool


Notice = MarkerReached | Updated | Warned | GoingAway | Complete
