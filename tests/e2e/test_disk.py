"""A folder is full, or read-only: at the start, while somebody speaks, and at the end."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from _pytest.mark import ParameterSet
from service import ROOT, RunningService, environment, launch
from test_websocket import buzz, configure, from_pcm16, pcm16, rest, say

from fast_vc_service.audio.files import read_audio
from fast_vc_service.server.http.jobs.work import DISK_RETRY_S
from waiting import until

PROGRAM = str(ROOT / "tests" / "e2e" / "full_disk_fast_vc.py")
REFERENCE = ROOT / "wavs" / "references" / "ref-24k.wav"
FOLDERS = ("logs", "temp", "data", "outputs", "checkpoints")
NEEDED = ("logs", "temp", "data", "outputs")
ERRORS = ("ENOSPC", "EROFS")


def cases(folders: tuple[str, ...], *quick: tuple[str, str]) -> list[ParameterSet]:
    """Each folder with each error; in the quick run a few of them."""
    return [
        pytest.param(folder, error, marks=() if (folder, error) in quick else pytest.mark.slow)
        for folder in folders
        for error in ERRORS
    ]


@dataclass
class Disk:
    """A home with one folder that can fail."""

    home: Path
    folder: str
    error: str

    @property
    def path(self) -> Path:
        return self.home / self.folder

    @property
    def switch(self) -> Path:
        return self.home / "fails"

    def fail(self) -> None:
        self.switch.touch()

    def work(self) -> None:
        self.switch.unlink()

    def variables(self) -> dict[str, str]:
        return {
            "DISK_FOLDER": str(self.path),
            "DISK_ERROR": self.error,
            "DISK_SWITCH": str(self.switch),
        }

    def settings(self) -> dict[str, str]:
        return {
            f"{name}_dir": str(self.home / folder)
            for name, folder in zip(
                ("logs", "temp", "data", "outputs", "models"), FOLDERS, strict=True
            )
        } | {"engine": "passthrough", "record": "true", "max_sessions": "8", "late_ms": "20000"}


@contextmanager
def running(disk: Disk) -> Iterator[RunningService]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in disk.variables().items():
            patch.setenv(name, value)
        service = launch(disk.home, program=[PROGRAM], **disk.settings())
    try:
        service.wait_until("ready")
        yield service
    finally:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


def fast_vc(disk: Disk, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, *arguments],
        cwd=disk.home,
        env=environment(disk.home, **disk.settings()) | disk.variables(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def wav(seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, buzz(round(16_000 * seconds)), 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def upload(service: RunningService, path: str, **fields: str) -> httpx.Response:
    part = "clip" if path == "voices" else "file"
    clip = REFERENCE.read_bytes() if path == "voices" else wav()
    url = f"http://127.0.0.1:{service.port}/{path}"
    return httpx.post(url, files={part: clip}, data=fields, timeout=60)


def answers(service: RunningService) -> dict[str, tuple[int, Any]]:
    """What the service says to somebody who has something to keep."""
    asked = {
        "jobs": upload(service, "jobs"),
        "convert": upload(service, "convert"),
        "voices": upload(service, "voices", name="new", consent="true"),
    }
    return {
        name: (
            answer.status_code,
            answer.json().get("error_code")
            if answer.headers["content-type"] == "application/json"
            else None,
        )
        for name, answer in asked.items()
    }


def test_a_disk_is_tried_again_soon() -> None:
    assert DISK_RETRY_S < 5


def a_job_is_done(service: RunningService) -> bool:
    answer = upload(service, "jobs")
    if answer.status_code != 202:
        return False
    url = f"http://127.0.0.1:{service.port}{answer.headers['location']}"
    until(lambda: httpx.get(url).json()["state"] in {"done", "failed"})
    return bool(httpx.get(url).json()["state"] == "done")


@pytest.mark.parametrize(("folder", "error"), cases(NEEDED, ("data", "ENOSPC"), ("temp", "EROFS")))
def test_a_service_does_not_start_on_a_folder_that_it_needs_and_cannot_write(
    tmp_path: Path, folder: str, error: str
) -> None:
    disk = Disk(tmp_path, folder, error)
    disk.path.mkdir()
    disk.fail()
    done = fast_vc(disk, "serve", "--port", "0")
    assert done.returncode == 2, done.stderr
    said = f"{folder}_dir: expected a folder to write to, got: "
    assert said in done.stderr
    assert os.strerror(getattr(errno, error)) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("folder", "error"), cases(FOLDERS, ("data", "ENOSPC")))
def test_sessions_go_on_and_everything_works_again_once_there_is_room(
    tmp_path: Path, folder: str, error: str
) -> None:
    disk = Disk(tmp_path, folder, error)
    disk.path.mkdir()
    audio = buzz(32_000)
    with running(disk) as service:
        with service.connect() as ws:
            configure(ws, realtime=False)
            ws.send(pcm16(audio[:16_000]))
            until(lambda: service.get("/health")[1]["sessions"]["live"] == 1)
            disk.fail()
            told = answers(service)
            ws.send(pcm16(audio[16_000:]))
            say(ws, type="end")
            payloads, texts, code = rest(ws)
        assert (texts[-1]["type"], code) == ("complete", 1000)
        out = from_pcm16(b"".join(payloads))
        assert np.abs(out - audio).max() < 1e-3

        full = (507, "NO_SPACE")
        assert told == {
            "jobs": full if folder in {"data", "temp"} else (202, None),
            "convert": full if folder == "temp" else (200, None),
            "voices": full if folder in {"data", "temp"} else (201, None),
        }
        assert service.get("/health/ready")[0] == 200
        # Another one begins, and its recording fails without a word to it.
        with service.connect() as ws:
            configure(ws, realtime=False)
            ws.send(pcm16(audio[:3200]))
            say(ws, type="end")
            assert rest(ws)[2] == 1000

        disk.work()
        until(lambda: a_job_is_done(service))
        until(lambda: upload(service, "convert").status_code == 200)

        disk.fail()
        assert service.stop() == 0
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


@pytest.mark.parametrize("error", ERRORS)
def test_a_conversion_that_does_not_fit_says_so(tmp_path: Path, error: str) -> None:
    disk = Disk(tmp_path, "outputs", error)
    disk.path.mkdir()
    clip = tmp_path / "clip.wav"
    clip.write_bytes(wav())
    disk.fail()
    done = fast_vc(disk, "convert", str(clip), "--output-dir", str(disk.path), "--json")
    assert done.returncode == 1
    (told,) = json.loads(done.stdout)["files"]
    assert os.strerror(getattr(errno, error)) in told["error"]
    assert "ystem error" not in done.stdout + done.stderr
    disk.work()
    assert list(disk.path.iterdir()) == []
    done = fast_vc(disk, "convert", str(clip), "--output-dir", str(disk.path))
    assert done.returncode == 0
    assert len(read_audio(disk.path / "clip.wav")[0]) == 16_000
