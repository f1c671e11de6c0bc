"""What the HTTP routes tell of voices, jobs and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fast_vc_service.client.from_json import FromJson
from fast_vc_service.protocol.voice_choice import JsonVoice


@dataclass(frozen=True, slots=True)
class VoiceInfo(FromJson):
    """A voice that sessions may choose by its name.

    Attributes:
        name: What it is chosen by.
        description: The words of whoever uploaded it.
        source: ``"folder"``: a clip of the server's own; ``"uploaded"``: added by somebody.
        owner: Name of the key it belongs to; None is everybody's.
        removable: Whether the caller may remove it.
        duration_s: Seconds of its clip.
        created_at: Seconds since the epoch; None for a clip of the server's own.
        ready: False: its first use takes a moment.
        check: What was found out about an uploaded clip (``doubts``, ``level_dbfs``, ...); told of
            a single voice, not in lists.
    """

    name: str
    description: str | None = None
    source: str = "folder"
    owner: str | None = None
    removable: bool = False
    duration_s: float = 0.0
    created_at: float | None = None
    ready: bool = True
    check: Mapping[str, Any] | None = None


JobState = Literal["queued", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Job(FromJson):
    """A file that the service converts when its turn comes; times in seconds since the epoch.

    Attributes:
        id: What it is asked for by.
        state: Where it is.
        progress: Share that is done, 0 to 1.
        voice: As asked for, or the server's default.
        pitch_shift: Semitones.
        format: ``"wav"``, ``"flac"`` or ``"ogg"``.
        filename: Of the source.
        duration_s: Of the source.
        created_at: When it was submitted.
        started_at: None before.
        finished_at: None before.
        expires_at: When the job and its files are removed; None before it has finished.
        error: Why it failed: ``error_code``, ``message``, ``details``.
    """

    id: str
    state: JobState
    progress: float
    voice: JsonVoice
    pitch_shift: float
    format: str
    filename: str
    duration_s: float
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    error: Mapping[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        """Whether its state will not change any more."""
        return self.state in {"done", "failed"}


@dataclass(frozen=True, slots=True)
class BrowserToken(FromJson):
    """Stands for the key it was made with, for ``expires_in_s`` from now, until ``expires_at``."""

    token: str
    expires_in_s: float
    expires_at: float
