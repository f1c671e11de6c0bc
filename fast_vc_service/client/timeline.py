"""When audio went out and came back: the record that all latency figures are computed from."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

EventType = Literal["send", "recv"]

_EPOCH_S = time.time() - time.monotonic()


def now() -> float:
    """Return the time in seconds since the epoch, by a clock that is never set back or forth."""
    return _EPOCH_S + time.monotonic()


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One message of audio.

    Attributes:
        timestamp: Seconds since the epoch. Of a send in real time: when it was due.
        cumulative_ms: Audio of this direction so far, this message included.
        event_type: ``"send"`` or ``"recv"``.
        actual_timestamp: Of a send: when it really went out, in seconds since the epoch.
    """

    timestamp: float
    cumulative_ms: float
    event_type: EventType
    actual_timestamp: float | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the entry as it stands in a file."""
        content: dict[str, object] = {
            "timestamp": self.timestamp,
            "cumulative_ms": self.cumulative_ms,
            "event_type": self.event_type,
        }
        if self.actual_timestamp is not None:
            content["actual_timestamp"] = self.actual_timestamp
        return content


class Timeline:
    """The entries of one session.

    Attributes:
        sends: What was sent, in order.
        recvs: What was received, in order.
    """

    def __init__(self, entries: Iterable[TimelineEntry] = ()) -> None:
        self.sends: list[TimelineEntry] = []
        self.recvs: list[TimelineEntry] = []
        for entry in entries:
            (self.sends if entry.event_type == "send" else self.recvs).append(entry)

    def add_send(self, cumulative_ms: float, *, due_s: float | None, actual_s: float) -> None:
        """Note that audio up to ``cumulative_ms`` goes out; ``due_s`` is None without a clock."""
        timestamp = actual_s if due_s is None else due_s
        self.sends.append(TimelineEntry(timestamp, cumulative_ms, "send", actual_s))

    def add_recv(self, cumulative_ms: float, timestamp_s: float) -> None:
        """Note that audio up to ``cumulative_ms`` has come back."""
        self.recvs.append(TimelineEntry(timestamp_s, cumulative_ms, "recv"))

    @property
    def entries(self) -> list[TimelineEntry]:
        """All entries in the order of time."""
        return sorted(self.sends + self.recvs, key=lambda entry: entry.timestamp)

    def save(self, path: Path, header: Mapping[str, object] | None = None) -> None:
        """Write ``{**header, "entries": [...]}``, one entry a line.

        Raises:
            OSError: The file cannot be written.
        """
        lines = ",\n".join(json.dumps(entry.as_dict()) for entry in self.entries)
        members = "".join(
            f"{json.dumps(name)}: {json.dumps(value)},\n" for name, value in (header or {}).items()
        )
        path.write_text(f'{{{members}"entries": [\n{lines}\n]}}\n', encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Timeline:
        """Read what :meth:`save`, or a recording server, wrote.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is no timeline.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(_entry(item) for item in content["entries"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: expected a JSON object with the member entries, a list of objects with "
                f"timestamp, cumulative_ms and event_type; got {type(error).__name__}: {error}"
            ) from error


def _entry(item: Mapping[str, Any]) -> TimelineEntry:
    event_type = item["event_type"]
    if event_type not in {"send", "recv"}:
        raise ValueError(f"event_type {event_type!r}")
    actual = item.get("actual_timestamp")
    return TimelineEntry(
        float(item["timestamp"]),
        float(item["cumulative_ms"]),
        event_type,
        None if actual is None else float(actual),
    )
