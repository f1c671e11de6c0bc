"""What a service says as it starts: in a log, and on a terminal."""

from __future__ import annotations

import dataclasses
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from fast_vc_service.commands import start_notice
from fast_vc_service.commands.serve import describe, tell_change
from fast_vc_service.commands.start_notice import StartedService
from fast_vc_service.process.start_progress import StartProgress
from fast_vc_service.settings import load_settings
from waiting import until

STARTED = StartedService("ws://127.0.0.1:8042/ws", 8042, "nano", "cpu", 22, limit_set=False)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    text = io.StringIO()
    number = logger.add(text, format="{message}")
    yield text
    logger.remove(number)


def test_the_facts_are_the_same_in_a_line_and_on_a_terminal() -> None:
    line, banner = start_notice.ready_line(STARTED), start_notice.banner(STARTED)
    for fact in ("http://127.0.0.1:8042/", "ws://127.0.0.1:8042/ws", "22 sessions at a time"):
        assert fact in line
        assert fact in banner
    assert "fast-vc stop" in line
    assert banner.count("fast-vc ") == 3
    assert max(map(len, banner.splitlines())) <= 80
    assert "\n" not in line


def test_another_port_and_a_set_limit_are_in_the_commands() -> None:
    other = dataclasses.replace(
        STARTED, url="wss://127.0.0.1:9000/ws", port=9000, sessions=1, limit_set=True
    )
    banner = start_notice.banner(other)
    assert "1 session at a time (set by max_sessions)" in banner
    assert "https://127.0.0.1:9000/" in banner
    assert "fast-vc status --port 9000" in banner
    assert "fast-vc stop --port 9000" in banner
    assert "--url wss://127.0.0.1:9000/ws" in banner


def test_progress_says_what_is_done_until_it_is_stopped(logged: io.StringIO) -> None:
    with StartProgress("loading", 0.01) as progress:
        until(lambda: "still loading, 0 s so far" in logged.getvalue())
        progress.now("warming up")
        until(lambda: "still warming up, 0 s so far" in logged.getvalue())
    said = logged.getvalue()
    until(lambda: "start-progress" not in {each.name for each in threading.enumerate()})
    assert logged.getvalue().count("\n") <= said.count("\n") + 1


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_gets_the_banner(
    logged: io.StringIO, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, *, terminal: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    loaded = load_settings({"port": 8042}, home=tmp_path)
    info = describe(loaded, 8042)
    with StartProgress("warming up") as progress:
        tell_change(loaded.settings, info, "draining", 0, progress)
        assert logged.getvalue() == ""
        tell_change(loaded.settings, info, "ready", 3, progress)
    assert "clients connect to ws://127.0.0.1:8042/ws, 3 sessions" in logged.getvalue()
    assert ("is ready." in capsys.readouterr().out) is terminal
