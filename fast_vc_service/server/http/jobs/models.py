"""What the routes for files say and take, for ``/openapi.json`` as well."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from fast_vc_service.protocol.voice_choice import JsonVoice
from fast_vc_service.server.http.problems import Problem

_JOB: dict[str, Any] = {
    "id": "5f1c0b7a9d0e4c1f8a2b3c4d5e6f7081",
    "state": "running",
    "progress": 0.42,
    "voice": "alto",
    "pitch_shift": 0.0,
    "format": "wav",
    "filename": "talk.mp3",
    "duration_s": 1804.2,
    "created_at": 1764033000.0,
    "started_at": 1764033001.5,
    "finished_at": None,
    "expires_at": None,
    "error": None,
}


class JobView(BaseModel):
    """A file that is being converted; times in seconds since the epoch."""

    EXAMPLE: ClassVar[dict[str, Any]] = _JOB

    id: str
    state: Literal["queued", "running", "done", "failed"]
    progress: float = Field(description="Share that is done, 0 to 1.")
    voice: JsonVoice = Field(description="A name, or a blend: names with shares that are 1 in all.")
    pitch_shift: float
    format: Literal["wav", "flac", "ogg"]
    filename: str
    duration_s: float
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None = Field(description="When the job and its files are removed.")
    error: Problem | None


class JobList(BaseModel):
    """The caller's jobs, the newest first."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"jobs": [_JOB]}

    jobs: list[JobView]


class FileLimits(BaseModel):
    """What a file to be converted may be at most."""

    model_config = ConfigDict(frozen=True)

    max_file_bytes: int = 200_000_000
    max_file_s: float = 3600.0


FILE_FORM: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "description": "WAV, FLAC, OGG or MP3, of any rate from 8 to 192 kHz.",
                    },
                    "voice": {
                        "type": "string",
                        "description": "Name of a voice, or a blend as JSON; "
                        "the server's default when left out.",
                    },
                    "pitch_shift": {
                        "type": "number",
                        "minimum": -24,
                        "maximum": 24,
                        "default": 0,
                        "description": "Semitones on top of the automatic register match.",
                    },
                    "format": {"type": "string", "enum": ["wav", "flac", "ogg"], "default": "wav"},
                },
            },
            "example": {
                "file": "(the bytes of talk.mp3)",
                "voice": "alto",
                "pitch_shift": 0,
                "format": "wav",
            },
        }
    },
}
