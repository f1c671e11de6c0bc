"""What fails in a running service is told, counted and started again; others do not notice."""

from __future__ import annotations

import asyncio
import io
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from faulty_fast_vc import BREAKS, ENDS, HANGS, RAISES
from service import ROOT, RunningService, launch
from test_drain import fast_vc
from test_overload import Talk, talk_together
from test_websocket import buzz, configure, from_pcm16, pcm16, rest, say

from waiting import until

TASKS = (
    "warm-up",
    "voices",
    "pruning",
    "watch",
    "jobs",
    "job-worker",
    "job-expiry",
    "recorder",
    "drain",
)


@contextmanager
def faulty(home: Path, *flags: str, faults: str = "", **settings: Any) -> Iterator[RunningService]:
    """A service with the plug of ``faulty_fast_vc``, which nothing of a test outlives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAULTS", faults)
        service = launch(
            home,
            "--engine",
            "passthrough",
            *flags,
            program=[str(ROOT / "tests" / "e2e" / "faulty_fast_vc.py")],
            **{"max_sessions": 8, "late_ms": 20_000, **settings},
        )
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


def restarts(service: RunningService) -> dict[str, int]:
    """How often what was started again, without what never was."""
    _, metrics = service.get("/metrics")
    found = re.findall(r'fast_vc_task_restarts_total\{task="(.*)"\} (\d+)', metrics)
    return {task: int(count) for task, count in found if int(count)}


def level(value: float, samples: int) -> bytes:
    return pcm16(np.full(samples, value, np.float32))


def convert(service: RunningService, audio: bytes) -> tuple[bytes, list[dict[str, Any]], int]:
    """Convert PCM at 16 kHz as an upload."""
    with service.connect() as ws:
        configure(ws, realtime=False)
        ws.send(audio)
        say(ws, type="end")
        payloads, texts, code = rest(ws)
    return b"".join(payloads), texts, code


def wav(audio: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def test_every_task_that_fails_is_told_counted_and_started_again(tmp_path: Path) -> None:
    faults = ",".join((*TASKS, "service-info"))
    with faulty(tmp_path, faults=faults, record="true", recording_retention_days=7) as service:
        service.wait_until("ready")
        audio = buzz(8000)
        out, texts, code = convert(service, pcm16(audio))
        assert (texts[-1]["type"], code) == ("complete", 1000)
        assert np.abs(from_pcm16(out) - audio).max() < 1e-3

        jobs = f"http://127.0.0.1:{service.port}/jobs"
        until(lambda: httpx.get(jobs).status_code == 200)
        job = httpx.post(jobs, files={"file": wav(buzz(16_000))}, timeout=60).json()
        until(lambda: httpx.get(f"{jobs}/{job['id']}").json()["state"] == "done")

        until(lambda: set(restarts(service)) >= set(TASKS) - {"drain"})
        assert service.get("/health/ready")[0] == 200
        # Without an info file `status` cannot know of it, but it does all that it is for.
        assert fast_vc(service, "status").returncode == 3
        assert service.stop() == 0
    log = (tmp_path / "stderr.txt").read_text()
    for task in TASKS:
        assert re.search(rf"{task} has failed; it is started again in .* s\nTraceback", log), task
    assert "cannot say that the service is ready" in log


def test_a_model_thread_that_fails_ends_its_batch_alone(tmp_path: Path) -> None:
    with faulty(tmp_path) as service:
        service.wait_until("ready")
        told: dict[str, Any] = {}

        def faults() -> None:
            told["raised"] = convert(service, level(RAISES, 640) + pcm16(buzz(3200)))
            told["ended"] = convert(service, level(ENDS, 640))
            began = time.monotonic()
            with service.connect() as ws:
                ready = configure(ws, session_id="somebody-s-name")
                ws.send(level(HANGS, 640))
                told["hung"] = rest(ws)
            told["hung_s"] = time.monotonic() - began
            assert ready["session_id"] == "somebody-s-name"
            told["live"] = service.get("/health")[1]["sessions"]["live"]
            told["after"] = convert(service, pcm16(buzz(3200)))
            (tmp_path / "go-on").touch()
            until((tmp_path / "went-on").exists)
            told["came back"] = convert(service, pcm16(buzz(3200)))

        talks: list[Talk] = asyncio.run(talk_together(service, [22.0, 22.0], faults))

        assert restarts(service) == {"model": 2}
        assert service.get("/health/ready")[0] == 200
        for others in talks:
            others.check()
            assert others.stats["silenced_ms"] == 0
        _, texts, code = told["raised"]
        assert (code, texts[0]["code"]) == (1000, "CONVERSION_FAILED")
        assert texts[-1]["stats"]["silenced_ms"] in {20, 40}
        for name in ("ended", "hung"):
            _, texts, code = told[name]
            assert (code, [text["type"] for text in texts]) == (1011, ["error"])
            assert texts[0]["error_code"] == "INTERNAL_ERROR"
        assert told["hung_s"] > 10
        assert told["live"] <= 2, "the slot of the session that hung is free"
        for name in ("after", "came back"):
            assert told[name][2] == 1000
        assert service.stop() == 0
    log = (tmp_path / "stderr.txt").read_text()
    assert "somebody-s-name" not in log
    for line in (r"model-\d has failed; 1 sessions", r"model-\d has been in one call for 1\d"):
        assert re.search(rf"\[[0-9a-f]{{12}}\] .*{line}", log), line


def test_a_thread_that_hangs_for_ever_does_not_keep_the_process(tmp_path: Path) -> None:
    with faulty(tmp_path, drain_s=1) as service:
        service.wait_until("ready")
        with service.connect() as ws:
            configure(ws, realtime=False)
            ws.send(level(HANGS, 640))
            say(ws, type="end")
            until(lambda: service.get("/health")[1]["sessions"]["live"] == 1)
            began = time.monotonic()
            assert service.stop() == 0
        # The drain, the last blocks and the exit, each to its limit.
        assert time.monotonic() - began < 15


def test_a_file_whose_thread_ends_is_an_error_and_the_next_one_is_converted(
    tmp_path: Path,
) -> None:
    with faulty(tmp_path) as service:
        service.wait_until("ready")
        base = f"http://127.0.0.1:{service.port}"
        bad = wav(np.full(32_000, ENDS, np.float32))
        good = wav(buzz(16_000))
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{base}/convert", files={"file": bad}, timeout=30)
        answer = httpx.post(f"{base}/convert", files={"file": good}, timeout=30)
        assert answer.status_code == 200
        assert soundfile.info(io.BytesIO(answer.content)).frames == 16_000
        states = {}
        for name, file in (("bad", bad), ("good", good)):
            job = httpx.post(f"{base}/jobs", files={"file": file}, timeout=30).json()
            url = f"{base}/jobs/{job['id']}"
            until(lambda url=url: httpx.get(url).json()["state"] in {"done", "failed"})  # type: ignore[misc]
            states[name] = httpx.get(url).json()
        assert states["bad"]["state"] == "failed"
        assert states["bad"]["error"]["error_code"] == "INTERNAL_ERROR"
        assert states["good"]["state"] == "done"


def test_a_model_that_cannot_be_brought_back_is_the_state_failed(tmp_path: Path) -> None:
    with faulty(tmp_path) as service:
        service.wait_until("ready")
        with service.connect() as bystander:
            configure(bystander)
            _, texts, code = convert(service, level(BREAKS, 640))
            assert (code, texts[0]["error_code"]) == (1011, "INTERNAL_ERROR")
            _, texts, code = rest(bystander)
            assert (code, texts[-1]["error_code"]) == (1011, "INTERNAL_ERROR")
        service.wait_until("failed")
        assert service.get("/health/ready") == (503, {"state": "failed"})
        assert service.get("/health/live")[0] == 200
        assert fast_vc(service, "status").returncode == 5
        with service.connect() as late:
            say(late, type="config")
            _, texts, code = rest(late)
        assert (code, texts[0]["error_code"]) == (4429, "BUSY")
        assert fast_vc(service, "stop").returncode == 0
        assert service.process.wait(10) == 0


def test_a_model_that_cannot_be_brought_back_ends_the_process_where_asked(tmp_path: Path) -> None:
    with faulty(tmp_path, "--exit-on-failure") as service:
        service.wait_until("ready")
        _, texts, code = convert(service, level(BREAKS, 640))
        assert (code, texts[0]["error_code"]) == (1011, "INTERNAL_ERROR")
        assert service.process.wait(30) == 1


@pytest.mark.parametrize("faults", ["weights", "weights,stop"])
def test_a_service_that_never_gets_warm_fails_however_it_ends(tmp_path: Path, faults: str) -> None:
    with faulty(tmp_path, faults=faults) as service:
        assert service.process.wait(60) == 1
    assert "the engine cannot be made ready" in (tmp_path / "stderr.txt").read_text()
