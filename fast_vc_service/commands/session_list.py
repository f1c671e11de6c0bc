"""What ``fast-vc session list`` tells: every recording, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fast_vc_service.commands.recordings import RecordingError, read
from fast_vc_service.sessions.recording import Recording, find_recordings


def describe(outputs: Path) -> list[dict[str, Any]]:
    """Return the recordings under ``outputs``, newest day first, as JSON objects.

    ``problem`` says why a recording cannot be read; what is not known then is null.
    """
    return [_described(recording) for recording in find_recordings(outputs)]


def as_text(recordings: Sequence[dict[str, Any]]) -> str:
    """Return a table of what :func:`describe` told, for people."""
    if not recordings:
        return "no sessions are recorded"
    width = max(len(recording["name"]) for recording in recordings)
    return "\n".join(
        f"{recording['name']:<{width}}  {recording['day']}  {_state(recording)}"
        for recording in recordings
    )


def _described(recording: Recording) -> dict[str, Any]:
    known: dict[str, Any] = {
        "name": recording.slug,
        "day": recording.day.isoformat(),
        "session_id": None,
        "started": None,
        "received_s": None,
        "finished": None,
        "problem": None,
    }
    try:
        conversation = read(recording)
    except RecordingError as error:
        return known | {"problem": str(error)}
    received_ms = max((entry.cumulative_ms for entry in conversation.timeline.sends), default=0.0)
    return known | {
        "session_id": conversation.header.get("session_id"),
        "started": conversation.header.get("started"),
        "received_s": round(received_ms / 1e3, 3),
        "finished": conversation.finished,
    }


def _state(recording: dict[str, Any]) -> str:
    if recording["problem"] is not None:
        return str(recording["problem"])
    state = "" if recording["finished"] else ", still running or its process died"
    return f"{recording['received_s']:.1f} s{state}"
