from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fast_vc_service.client.timeline import Timeline, TimelineEntry, now
from fast_vc_service.sessions.recorder import Recorder, RecordingWriter


def test_file_holds_header_and_entries_in_the_order_of_time(tmp_path: Path) -> None:
    timeline = Timeline()
    timeline.add_send(20.0, due_s=1.0, actual_s=1.001)
    timeline.add_send(40.0, due_s=None, actual_s=3.0)
    timeline.add_recv(20.0, 2.0)
    timeline.save(tmp_path / "t.json", {"session_id": 'a"b'})
    assert json.loads((tmp_path / "t.json").read_text()) == {
        "session_id": 'a"b',
        "entries": [
            {
                "timestamp": 1.0,
                "cumulative_ms": 20.0,
                "event_type": "send",
                "actual_timestamp": 1.001,
            },
            {"timestamp": 2.0, "cumulative_ms": 20.0, "event_type": "recv"},
            {
                "timestamp": 3.0,
                "cumulative_ms": 40.0,
                "event_type": "send",
                "actual_timestamp": 3.0,
            },
        ],
    }
    assert Timeline.load(tmp_path / "t.json").entries == timeline.entries


def test_empty_timeline_is_valid(tmp_path: Path) -> None:
    Timeline().save(tmp_path / "t.json")
    assert Timeline.load(tmp_path / "t.json").entries == []


def test_what_the_server_recorded_can_be_read(tmp_path: Path) -> None:
    writer = RecordingWriter(period_s=0.01)
    started = datetime(2025, 1, 1, tzinfo=UTC)
    recorder = Recorder(tmp_path, "s", started, 16_000, 16_000, writer=writer)
    recorder.input(np.zeros(320, np.float32), 20.0)
    recorder.output(np.zeros(160, np.float32), 10.0)
    assert writer.close()
    [path] = tmp_path.rglob("*_timeline.json")
    loaded = Timeline.load(path)
    assert [entry.cumulative_ms for entry in loaded.sends] == [20.0]
    assert [entry.cumulative_ms for entry in loaded.recvs] == [10.0]
    assert loaded.sends[0].actual_timestamp is None


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        "{}",
        '{"entries": [{"timestamp": 1}]}',
        '{"entries": [{"timestamp": 1, "cumulative_ms": 2, "event_type": "lost"}]}',
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"t\.json: expected"):
        Timeline.load(path)


def test_clock_does_not_go_back() -> None:
    times = [now() for _ in range(100)]
    assert times == sorted(times)
    assert TimelineEntry(1.0, 2.0, "recv").as_dict() == {
        "timestamp": 1.0,
        "cumulative_ms": 2.0,
        "event_type": "recv",
    }
