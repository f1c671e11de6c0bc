"""What client and server say in an open session, and the server's last word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fast_vc_service.protocol.codes import ErrorCode, WarningCode
from fast_vc_service.protocol.members import Asked, Told
from fast_vc_service.protocol.opening import PITCH_SHIFT
from fast_vc_service.protocol.values import (
    COUNT,
    MILLISECONDS,
    NUMBER,
    TEXT,
    TRUTH,
    VOICE,
    MarkerId,
    Said,
)
from fast_vc_service.protocol.voice_choice import VoiceChoice
from fast_vc_service.protocol.words import Words

FACTORS = ("mean", "median", "min", "max", "std", "p95", "p99")

_MARKER_ID = MarkerId()
_BLOCK_LATENCY = Words(
    "per block: from receipt of its last byte to the hand-over of its output to the transport",
    "每块：从收到其最后一个字节，到其输出交给传输层",
)
_AUDIO = Words("audio in and out", "收到与发出的音频")
_FACTOR = Said(
    {
        "type": "object",
        "properties": {name: {"type": ["number", "null"]} for name in FACTORS},
        "required": list(FACTORS),
        "additionalProperties": False,
    }
)
_ERROR_CODE = Said({"enum": [str(code) for code in ErrorCode]})
_WARNING_CODE = Said({"enum": [str(code) for code in WarningCode]})
_DETAILS = Said(
    {
        "type": "object",
        "properties": {
            "expected": {"type": "string"},
            "got": {"type": "string"},
            "hint": {"type": "string"},
            "available": {"type": "array", "items": {"type": "string"}},
            "retry_after_s": {"type": "number"},
        },
    }
)
_STREAM_ID = Said({"type": ["string", "null"]})
_REGISTER = Said({"type": ["number", "null"]})
_LEARNED = Words(
    "the register of the speaker (median F0 in Hz) as the session has learned it, for the next "
    "session's `source_f0_hz`; null before half a second of voiced speech, and from engines that "
    "need none",
    "会话学到的说话人音域（F0 中位数，Hz），供下一次会话的 `source_f0_hz` 使用；"
    "浊音不足半秒或引擎不需要时为 null",
)


@dataclass(frozen=True, slots=True)
class Marker:
    """Echo ``id`` when the output has reached this place of the input."""

    id: Annotated[str | int, Asked(_MARKER_ID, Words("Echoed."))]


@dataclass(frozen=True, slots=True)
class Update:
    """Change voice and/or pitch shift (semitones) from the next block; None leaves it as it is."""

    voice: Annotated[VoiceChoice | None, Asked(VOICE, Words("A name or a blend."))] = None
    pitch_shift: Annotated[float | None, Asked(PITCH_SHIFT, Words("Semitones."))] = None


@dataclass(frozen=True, slots=True)
class End:
    """No more input follows."""


@dataclass(frozen=True, slots=True)
class MarkerReached:
    """The output has reached a marker; how much audio was received and sent by then, in ms."""

    id: Annotated[str | int, Told(_MARKER_ID)]
    received_ms: Annotated[float, Told(MILLISECONDS)]
    sent_ms: Annotated[float, Told(MILLISECONDS)]


@dataclass(frozen=True, slots=True)
class Updated:
    """From ``from_sent_ms`` of output on, another voice or pitch shift (semitones) is heard."""

    voice: Annotated[VoiceChoice, Told(VOICE)]
    pitch_shift: Annotated[float, Told(PITCH_SHIFT)]
    from_sent_ms: Annotated[float, Told(MILLISECONDS)]


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the session survives; ``silenced_ms`` counts since its start."""

    code: Annotated[WarningCode, Told(_WARNING_CODE)]
    message: Annotated[str, Told(TEXT, assumed="")]
    silenced_ms: Annotated[float, Told(MILLISECONDS, assumed=0.0)]


@dataclass(frozen=True, slots=True)
class GoingAway:
    """The service is about to stop; ``in_s`` seconds are left."""

    in_s: Annotated[float, Told(NUMBER)]


@dataclass(frozen=True, slots=True)
class Complete:
    """All output has been sent. Times in ms."""

    total_processed_ms: Annotated[
        float, Told(MILLISECONDS, Words("input that was converted", "已转换的输入"))
    ]
    chunks_processed: Annotated[
        int, Told(COUNT, Words("blocks the model was given", "交给模型的块数"))
    ]
    average_latency_ms: Annotated[float, Told(MILLISECONDS, _BLOCK_LATENCY)]
    received_ms: Annotated[float, Told(MILLISECONDS, _AUDIO)]
    sent_ms: Annotated[float, Told(MILLISECONDS, _AUDIO)]
    sent_samples: Annotated[int, Told(COUNT, _AUDIO)]
    silenced_ms: Annotated[
        float,
        Told(
            MILLISECONDS,
            Words(
                "output replaced by silence, because a block was late or could not be converted",
                "因块迟到或无法转换而以静音代替的输出",
            ),
        ),
    ]
    concealed_ms: Annotated[
        float,
        Told(
            MILLISECONDS,
            Words(
                "input made up for lost or broken Opus packets",
                "为丢失或损坏的 Opus 包补出的输入",
            ),
        ),
    ]
    latency_p50_ms: Annotated[float, Told(MILLISECONDS, _BLOCK_LATENCY)]
    latency_p95_ms: Annotated[float, Told(MILLISECONDS, _BLOCK_LATENCY)]
    latency_p99_ms: Annotated[float, Told(MILLISECONDS, _BLOCK_LATENCY)]
    real_time_factor: Annotated[
        dict[str, float | None],
        Told(
            _FACTOR,
            Words(
                "per block: wall time of the step that carried it, not divided by the sessions in "
                "it, over the block's length. Null without any block",
                "每块：承载它的那一步的墙钟时间（不除以同批会话数）除以块长。没有任何块时为 null",
            ),
        ),
    ]
    is_real_time: Annotated[
        bool,
        Told(
            TRUTH,
            Words(
                "`real_time_factor.p95` < 1 and `silenced_ms` = 0",
                "`real_time_factor.p95` < 1 且 `silenced_ms` = 0",
            ),
        ),
    ]
    source_f0_hz: Annotated[float | None, Told(_REGISTER, _LEARNED)]


@dataclass(frozen=True, slots=True)
class Failed:
    """The session is over. ``details``: ``expected``, ``got``, ``hint`` and what else is known."""

    error_code: Annotated[str, Told(_ERROR_CODE)]
    message: Annotated[str, Told(TEXT)]
    details: Annotated[Mapping[str, Any], Told(_DETAILS)]


@dataclass(frozen=True, slots=True)
class SimpleCompleted:
    """All output has been sent."""

    source_f0_hz: Annotated[float | None, Told(_REGISTER, _LEARNED)]


@dataclass(frozen=True, slots=True)
class SimpleFailed:
    """The session is over; the close code says why."""

    stream_id: Annotated[str | None, Told(_STREAM_ID)]
    error_msg: Annotated[str, Told(TEXT)]


Notice = MarkerReached | Updated | Warned | GoingAway | Complete
