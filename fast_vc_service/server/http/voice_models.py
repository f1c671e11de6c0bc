"""What the voice routes say and take, for ``/openapi.json`` as well."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fast_vc_service.voices.clip_check import SHORTEST_S

_VOICE: dict[str, Any] = {
    "name": "anna",
    "description": "Reads news, calm",
    "source": "uploaded",
    "owner": "alice",
    "shared": False,
    "removable": True,
    "duration_s": 12.4,
    "created_at": 1764033000.0,
    "ready": True,
}
_CHECK: dict[str, Any] = {
    "duration_s": 12.4,
    "level_dbfs": -21.3,
    "peak_dbfs": -3.0,
    "clipped_share": 0.0,
    "speech_s": 9.9,
    "speech_share": 0.8,
    "signal_to_noise_db": 38.0,
    "speaker_similarity": 0.79,
    "problems": [],
    "doubts": [],
    "used_s": [[0.0, 12.4]],
}


class Voice(BaseModel):
    """A voice that sessions may choose by its name."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VOICE]})

    name: str
    description: str | None
    source: Literal["folder", "uploaded"] = Field(
        description="`folder`: a clip of the server's own; `uploaded`: added by somebody."
    )
    owner: str | None = Field(description="Name of the key it belongs to; null is everybody's.")
    shared: bool = Field(description="Whether everybody may use it.")
    removable: bool = Field(description="Whether the caller may remove it.")
    duration_s: float = Field(description="Seconds of its clip.")
    created_at: float | None = Field(description="Seconds since the epoch.")
    ready: bool = Field(description="False: its first use takes a moment.")


class ClipCheck(BaseModel):
    """What was found out about a clip; problems refuse it, doubts only warn."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CHECK]})

    duration_s: float
    level_dbfs: float = Field(description="RMS of the speech.")
    peak_dbfs: float
    clipped_share: float = Field(description="Share of samples at full scale, 0 to 1.")
    speech_s: float
    speech_share: float = Field(description="0 to 1.")
    signal_to_noise_db: float | None
    speaker_similarity: float | None = Field(
        description="Of the two windows of speech least alike; low when several people speak."
    )
    problems: list[str]
    doubts: list[str]
    used_s: list[tuple[float, float]] = Field(
        default=[], description="What of the clip the voice is made of, seconds from and to."
    )


class DescribedVoice(Voice):
    """A voice, and what is known of its clip."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_VOICE, "check": _CHECK}]})

    check: ClipCheck | None = Field(description="Null for a clip of the server's own.")


class ClipLimits(BaseModel):
    """What a clip may be at most."""

    model_config = ConfigDict(frozen=True)

    max_clip_bytes: int = 120_000_000
    max_clip_s: float = 600.0
    min_clip_s: float = SHORTEST_S


class VoiceList(BaseModel):
    """The voices a caller may use: the server's own, then added ones, each by name."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "default": "ref-24k",
                    "can_upload": True,
                    "can_blend": True,
                    "limits": {
                        "max_clip_bytes": 120_000_000,
                        "max_clip_s": 600.0,
                        "min_clip_s": 1.0,
                    },
                    "voices": [_VOICE],
                }
            ]
        }
    )

    default: str = Field(description="The voice of sessions that choose none.")
    can_upload: bool = Field(description="Whether the caller may add voices.")
    can_blend: bool = Field(description="Whether the engine has blends of voices.")
    limits: ClipLimits
    voices: list[Voice]


UPLOAD_FORM: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["name", "clip", "consent"],
                "additionalProperties": False,
                "properties": {
                    "name": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 64,
                        "pattern": "^[0-9A-Za-z_][0-9A-Za-z_ .-]*$",
                        "description": "Letters of any script, digits, spaces and . _ - are "
                        "allowed.",
                    },
                    "clip": {
                        "type": "string",
                        "format": "binary",
                        "description": "WAV, FLAC, OGG or MP3: 5 to 30 s of one person's clear "
                        "speech.",
                    },
                    "description": {"type": "string", "maxLength": 500},
                    "consent": {
                        "type": "string",
                        "enum": ["true"],
                        "description": "That you are the speaker, or the speaker has agreed.",
                    },
                },
            },
            "example": {
                "name": "anna",
                "clip": "(the bytes of anna.wav)",
                "description": "Reads news, calm",
                "consent": "true",
            },
        }
    },
}
