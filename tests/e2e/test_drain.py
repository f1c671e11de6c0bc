"""Starting, stopping and draining a real service process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from service import RunningService, environment, launch
from test_websocket import buzz, configure, from_pcm16, hear, pcm16, rest, say

from waiting import until

Service = Callable[..., RunningService]


def fast_vc(service: RunningService, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fast_vc_service", *arguments],
        env=environment(service.home),
        cwd=service.home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_drains(launch_service: Service, sig: signal.Signals) -> None:
    service = launch_service(drain_s=20)
    service.wait_until("ready")
    audio = buzz(6400)
    with service.connect() as ws:
        configure(ws)
        ws.send(pcm16(audio[:3200]))
        service.process.send_signal(sig)
        texts: list[dict[str, object]] = []
        payloads: list[bytes] = []
        while not texts:
            message = hear(ws)
            (payloads if isinstance(message, bytes) else texts).append(message)
        assert texts[0]["type"] == "going_away"
        assert texts[0]["in_s"] == 20
        assert service.get("/health/ready")[0] == 503
        with service.connect() as late:
            say(late, type="config")
            assert hear(late)["error_code"] == "BUSY"
        ws.send(pcm16(audio[3200:]))
        say(ws, type="end")
        more, texts, code = rest(ws)
    assert texts[-1]["type"] == "complete"
    assert code == 1000
    assert len(b"".join(payloads + more)) == 2 * len(audio)
    assert service.process.wait(10) == 0
    assert not list((service.home / "temp").glob("*.json"))


def test_at_the_drain_deadline_sessions_get_their_audio_and_going_away(
    launch_service: Service,
) -> None:
    service = launch_service(drain_s=1)
    service.wait_until("ready")
    with service.connect() as ws:
        configure(ws)
        ws.send(pcm16(buzz(3210)))
        service.process.send_signal(signal.SIGINT)
        payloads, texts, code = rest(ws)
    assert [text["type"] for text in texts] == ["going_away", "error"]
    assert texts[-1]["error_code"] == "GOING_AWAY"
    assert code == 1012
    assert len(b"".join(payloads)) == 2 * 3210
    assert service.process.wait(10) == 0


def test_an_upload_that_is_paced_at_the_drain_deadline_gets_what_was_taken(
    launch_service: Service,
) -> None:
    service = launch_service(drain_s=1)
    service.wait_until("ready")
    audio = buzz(16_000 * 20)
    with service.connect() as ws:
        configure(ws)
        ws.send(pcm16(audio))
        service.process.send_signal(signal.SIGINT)
        payloads, texts, code = rest(ws)
    assert [text["type"] for text in texts] == ["going_away", "error"]
    assert (texts[-1]["error_code"], code) == ("GOING_AWAY", 1012)
    taken = round(texts[-1]["details"]["received_ms"] * 16)
    assert 16_000 * 2 < taken < len(audio)
    heard = from_pcm16(b"".join(payloads))
    assert len(heard) == taken
    assert np.abs(heard - audio[:taken]).max() < 1e-3
    assert service.process.wait(10) == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGHUP, "stop --force"])
def test_a_second_signal_stops_at_once(launch_service: Service, how: signal.Signals | str) -> None:
    service = launch_service(drain_s=60)
    service.wait_until("ready")
    with service.connect() as ws:
        configure(ws)
        if isinstance(how, str):
            assert fast_vc(service, *how.split()).returncode == 0
        else:
            service.process.send_signal(how)
            assert hear(ws)["type"] == "going_away"
            service.process.send_signal(how)
        started = time.monotonic()
        service.process.wait(10)
        assert time.monotonic() - started < 6
    assert "Traceback" not in (service.home / "stderr.txt").read_text()


def test_status_and_stop_follow_the_life_of_a_service(launch_service: Service) -> None:
    service = launch_service()
    service.wait_until("ready")
    status = fast_vc(service, "status", "--json")
    assert status.returncode == 0, status.stderr
    told = json.loads(status.stdout)
    assert str(service.port) in json.dumps(told)
    again = launch(service.home, "--engine", "passthrough", port=service.port)
    assert again.process.wait(30) != 0
    assert str(service.process.pid) in again.output()
    stopped = fast_vc(service, "stop")
    assert stopped.returncode == 0, stopped.stderr
    assert service.process.wait(5) == 0
    assert fast_vc(service, "status").returncode == 3


def test_force_stops_a_service_with_live_sessions(launch_service: Service) -> None:
    service = launch_service(drain_s=300)
    service.wait_until("ready")
    with service.connect() as ws:
        configure(ws)
        stopped = fast_vc(service, "stop", "--force")
        assert stopped.returncode == 0, stopped.stderr
    service.process.wait(5)


def test_stop_works_during_warm_up(launch_service: Service) -> None:
    # Without a prepared voice the warm-up takes seconds.
    service = launch_service("--engine", "world", models_dir="empty")
    until(lambda: list((service.home / "temp").glob("*.json")))
    stopped = fast_vc(service, "stop")
    assert stopped.returncode == 0, stopped.stderr
    service.process.wait(20)


def test_a_service_starting_says_so(launch_service: Service) -> None:
    service = launch_service()
    deadline = time.monotonic() + 60
    answers = set()
    while time.monotonic() < deadline:
        try:
            status, _ = service.get("/health/ready")
        except OSError:
            continue
        answers.add(status)
        if status == 200:
            break
    assert 200 in answers
    assert answers <= {200, 503}
    assert f"clients connect to {service.url}" in service.output()
    assert service.get("/health/live")[0] == 200


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"idle_timeout_s": "long"}, ("idle_timeout_s", "long")),
        ({"voice": "x"}, ("FAST_VC_VOICE",)),
        ({"default_voice": "nobody"}, ("nobody",)),
        ({"host": "0.0.0.0"}, ("allow",)),
        ({"latency_ms": 21}, ("latency_ms",)),
    ],
)
def test_a_wrong_setting_stops_the_start_in_one_line(
    launch_service: Service, settings: dict[str, object], words: tuple[str, ...]
) -> None:
    service = launch_service(**settings)
    assert service.process.wait(60) != 0
    for word in words:
        assert word in service.output()
    assert "Traceback" not in service.output()


def test_a_port_in_use_by_another_program_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        service = launch(tmp_path, "--engine", "passthrough", port=port)
        assert service.process.wait(30) != 0
        assert str(port) in service.output()
        assert "Traceback" not in service.output()
