"""A label of the client's: echoed, kept with a recording, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from service import RunningService
from test_websocket import buzz, hear, pcm16, rest, say

LABEL = "Zürich, line 2"


def text_of(folder: Path, pattern: str) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.rglob(pattern))


def test_a_label_is_echoed_and_kept_in_the_timeline_but_not_logged(
    launch_service: Callable[..., RunningService],
) -> None:
    service = launch_service(record="true", log_level="DEBUG")
    service.wait_until("ready")
    with service.connect() as ws:
        say(ws, type="config", label=LABEL, session_id="call-1")
        assert hear(ws)["label"] == LABEL
        ws.send(pcm16(buzz(1600)))
        say(ws, type="end")
        assert rest(ws)[2] == 1000
    with service.connect() as ws:
        say(ws, type="config", session_id="call-2")
        assert "label" not in hear(ws)
    service.stop()
    timelines = {
        header["session_id"]: header
        for path in service.home.rglob("*_timeline.json")
        for header in [json.loads(path.read_text())]
    }
    assert timelines["call-1"]["label"] == LABEL
    assert "label" not in timelines["call-2"]
    logged = text_of(service.home, "*.log") + text_of(service.home, "stderr.txt")
    assert "session opened" in logged
    assert "line 2" not in logged


@pytest.mark.parametrize("label", ["", "x" * 129, "a\nb", 7])
def test_a_label_has_the_limits_of_a_session_id(passthrough: RunningService, label: object) -> None:
    with passthrough.connect() as ws:
        say(ws, type="config", label=label)
        refusal = hear(ws)
    assert refusal["error_code"] == "INVALID_CONFIG"
    assert refusal["message"].startswith("label ")
