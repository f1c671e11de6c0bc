"""Recordings by what a person calls them, and what is in one.

An ID is a session id or a recording's name (slug), whole or the beginning of exactly one. It is
compared with the names found under the outputs folder and never becomes a path itself, so nothing
outside of that folder can be reached. A recording that is still running, or whose process died,
is read as far as it was written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fast_vc_service.client.timeline import Timeline, TimelineEntry
from fast_vc_service.errors import UserError
from fast_vc_service.sessions.recording import (
    SAFE_CHARACTERS,
    Recording,
    find_recordings,
    safe_part,
    slug_head,
)

SHOWN_NAMES = 5
"""Names that an error lists at most."""


class RecordingError(UserError):
    """A recording cannot be found, read or exported; the message says why."""


@dataclass(frozen=True)
class Conversation:
    """The timeline of a recording.

    Attributes:
        header: ``session_id``, ``started``, sample rates, ``realtime``, ``lead_ms`` and, of a
            finished one, ``cut``: why the recording ended before the session, or None.
        timeline: When audio came in (send) and went out (recv), by the server's clock.
        finished: False while the session runs, or when its process died.
    """

    header: Mapping[str, Any]
    timeline: Timeline
    finished: bool


def find(outputs: Path, identifier: str) -> Recording:
    """Return the one recording under ``outputs`` that ``identifier`` names.

    Raises:
        RecordingError: None or several are named so.
    """
    recordings = list(find_recordings(outputs))
    for matches in (_is_exactly, _begins_with):
        found = [each for each in recordings if matches(each.slug, identifier)]
        if len(found) == 1:
            return found[0]
        if found:
            raise RecordingError(
                f"'{identifier}' names {len(found)} recordings; choose one: {_names(found)}"
            )
    newest = f"the newest are: {_names(recordings)}" if recordings else "there are none at all"
    raise RecordingError(f"no recording in {outputs} is named '{identifier}'; {newest}")


def read(recording: Recording) -> Conversation:
    """Read a recording's timeline, finished or not.

    Raises:
        RecordingError: There is none, or it is damaged.
    """
    if document := recording.files.get("timeline.json"):
        return _parsed(document, finished=True)
    if lines := recording.files.get("timeline.jsonl"):
        return _parsed(lines, finished=False)
    raise RecordingError(f"{recording.slug}: its timeline is gone; only audio is left")


def _is_exactly(slug: str, identifier: str) -> bool:
    return slug == identifier or slug.startswith(f"{slug_head(identifier)}-")


def _begins_with(slug: str, identifier: str) -> bool:
    if not identifier:
        return False
    as_id = len(identifier) <= SAFE_CHARACTERS and slug.startswith(safe_part(identifier))
    return as_id or slug.startswith(identifier)


def _names(recordings: Sequence[Recording]) -> str:
    names = [recording.slug for recording in recordings[:SHOWN_NAMES]]
    more = len(recordings) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _parsed(path: Path, *, finished: bool) -> Conversation:
    try:
        text = path.read_text(encoding="utf-8")
        if finished:
            header = json.loads(text)
            entries = header.pop("entries")
        else:
            # A killed process may have left half a line.
            whole = text[: text.rfind("\n") + 1].splitlines()
            header, *entries = (json.loads(line) for line in whole)
        timeline = Timeline(TimelineEntry(**entry) for entry in entries)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordingError(f"{path}: expected a timeline, got {error!r}") from error
    return Conversation(header, timeline, finished)
