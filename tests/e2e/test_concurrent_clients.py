"""Many clients at once on a service that has room for one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from service import ROOT, RunningService, environment

from fast_vc_service.audio.files import read_audio, write_audio

SOURCE = ROOT / "wavs" / "sources" / "low-pitched-male-24k.wav"
CLIENTS = 3
CLIP_S = 1.0


@pytest.fixture
def small_service(launch_service: Callable[..., RunningService]) -> RunningService:
    service = launch_service(max_sessions=1, late_ms=20_000)
    service.wait_until("ready")
    return service


def run_clients(service: RunningService, folder: Path, *flags: str) -> tuple[int, str]:
    audio, rate = read_audio(SOURCE)
    write_audio(folder / "clip.wav", audio[: round(CLIP_S * rate)], rate)
    command = [sys.executable, str(ROOT / "examples/websocket/concurrent_ws_client.py")]
    command += ["--url", service.url, "--num-clients", str(CLIENTS), "--max-workers", "1"]
    command += ["--source-wav-path", str(folder / "clip.wav")]
    command += ["--output-wav-dir", str(folder / "runs"), *flags]
    done = subprocess.run(
        command,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def content(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "runs" / name).read_text())
    return found


def test_clients_without_room_are_refused_and_counted(
    small_service: RunningService, tmp_path: Path
) -> None:
    status, said = run_clients(small_service, tmp_path)
    assert status == 1
    assert "2 of 3 clients were refused" in said
    assert "BUSY" in said
    assert "--wait" in said
    summary = content(tmp_path, "summary.json")
    assert (summary["succeeded"], summary["failed"], summary["refused"]) == (1, 2, 2)
    errors = [client["error"]["code"] for client in summary["clients"] if client["error"]]
    assert errors == ["BUSY", "BUSY"]


def test_clients_that_wait_have_their_turn_and_their_latency_does_not_count_it(
    small_service: RunningService, tmp_path: Path
) -> None:
    status, said = run_clients(small_service, tmp_path, "--wait")
    assert status == 0, said
    summary = content(tmp_path, "summary.json")
    assert (summary["succeeded"], summary["refused"]) == (CLIENTS, 0)
    waited = sorted(client["waited_s"] for client in summary["clients"])
    assert waited[0] == 0
    assert waited[1] >= CLIP_S - 0.5
    assert summary["waited_s"]["max"] == waited[-1]
    for number in range(1, CLIENTS + 1):
        result = content(tmp_path, f"client{number}_result.json")
        stats = content(tmp_path, f"client{number}_stats.json")
        assert result["waited_s"] in waited
        took_ms = stats["timeline_summary"]["processing_start_to_end_ms"]
        first_ms = stats["first_token_latency_ms"]
        first_send = result["send_timeline"][0]["timestamp"]
        first_recv = result["recv_timeline"][0]["timestamp"]
        assert first_ms == pytest.approx(1e3 * (first_recv - first_send))
        if result["waited_s"]:
            assert took_ms < 1e3 * (CLIP_S + result["waited_s"])


def test_waiting_ends_with_the_time_a_client_may_take(
    small_service: RunningService, tmp_path: Path
) -> None:
    status, said = run_clients(small_service, tmp_path, "--wait", "--timeout", "2")
    assert status == 1
    assert "allow more" in said
    assert content(tmp_path, "summary.json")["refused"] >= 1
