"""A folder is full, or read-only: at the start, while somebody speaks, and at the end."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from _pytest.mark import ParameterSet
from disks import ERRORS, FOLDERS, NEEDED, Disk, SmallDisk, can_mount, fast_vc, mounted, running
from service import ROOT, RunningService
from test_websocket import buzz, configure, from_pcm16, hear, pcm16, rest, say

from fast_vc_service.audio.files import read_audio
from fast_vc_service.server.http.jobs.work import DISK_RETRY_S
from waiting import PATIENCE_S, until

REFERENCE = ROOT / "wavs" / "references" / "ref-24k.wav"
FULL = (507, "NO_SPACE")
KINDS = ("plug", "small") if can_mount() else ("plug",)
"""A small disk where one can be mounted, beside what is refused by a plug everywhere."""


def cases(folders: tuple[str, ...], *quick: tuple[str, str]) -> list[ParameterSet]:
    """Each folder with each error; in the quick run a few of them."""
    return [
        pytest.param(folder, error, marks=() if (folder, error) in quick else pytest.mark.slow)
        for folder in folders
        for error in ERRORS
    ]


@contextlib.contextmanager
def disk_of(kind: str, home: Path, folder: str, error: str) -> Iterator[Disk]:
    if kind == "small":
        with mounted(home / folder):
            yield SmallDisk(home, folder, error)
    else:
        (home / folder).mkdir()
        yield Disk(home, folder, error)


def wav(seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, buzz(round(16_000 * seconds)), 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def upload(
    service: RunningService, path: str, seconds: float = 1.0, **fields: str
) -> httpx.Response:
    part = "clip" if path == "voices" else "file"
    clip = REFERENCE.read_bytes() if path == "voices" else wav(seconds)
    url = f"http://127.0.0.1:{service.port}/{path}"
    return httpx.post(url, files={part: clip}, data=fields, timeout=5 * PATIENCE_S)


def answers(
    service: RunningService, *paths: str, seconds: float = 1.0
) -> dict[str, tuple[int, Any]]:
    """What the service says to somebody who has something to keep."""
    told = {}
    for path in paths:
        fields = {"name": "new", "consent": "true"} if path == "voices" else {}
        answer = upload(service, path, seconds, **fields)
        is_json = answer.headers["content-type"] == "application/json"
        told[path] = (answer.status_code, answer.json().get("error_code") if is_json else None)
    return told


def told_of(service: RunningService, job: httpx.Response) -> dict[str, Any]:
    """The job once it has ended."""
    url = f"http://127.0.0.1:{service.port}{job.headers['location']}"
    until(lambda: httpx.get(url).json()["state"] in {"done", "failed"})
    return dict(httpx.get(url).json())


def all_is_well_in_s(service: RunningService) -> float:
    """After how many seconds files are converted and jobs done."""
    began = time.monotonic()
    until(lambda: upload(service, "convert").status_code == 200)
    until(lambda: (job := upload(service, "jobs")).status_code == 202 and is_done(service, job))
    return time.monotonic() - began


def is_done(service: RunningService, job: httpx.Response) -> bool:
    return bool(told_of(service, job)["state"] == "done")


def test_a_disk_is_tried_again_soon() -> None:
    assert DISK_RETRY_S < 5


# ------------------------------------------------------------------- the start


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("folder", "error"), cases(NEEDED, ("data", "ENOSPC"), ("temp", "EROFS")))
def test_a_service_does_not_start_on_a_folder_that_it_needs_and_cannot_write(
    tmp_path: Path, folder: str, error: str, kind: str
) -> None:
    with disk_of(kind, tmp_path, folder, error) as disk:
        disk.fail()
        done = fast_vc(disk, "serve", "--port", "0")
    assert done.returncode == 2, done.stderr
    assert f"{folder}_dir: expected a folder to write to, got: " in done.stderr
    assert os.strerror(getattr(errno, error)) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("folder", "error"), cases(("checkpoints",), ("checkpoints", "EROFS")))
def test_a_service_starts_without_a_folder_that_it_can_do_without(
    tmp_path: Path, folder: str, error: str
) -> None:
    with disk_of("plug", tmp_path, folder, error) as disk:
        disk.fail()
        with running(disk) as service:
            assert answers(service, "jobs", "convert") == {
                "jobs": (202, None),
                "convert": (200, None),
            }
            assert service.stop() == 0
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


# ------------------------------------------------------- while it runs, and its end


@pytest.mark.parametrize(("folder", "error"), cases(FOLDERS, ("data", "ENOSPC")))
def test_sessions_go_on_and_everything_works_again_once_there_is_room(
    tmp_path: Path, folder: str, error: str
) -> None:
    audio = buzz(32_000)
    refused = {"data": {"jobs", "voices"}, "temp": {"jobs", "convert", "voices"}}.get(folder, set())
    with disk_of("plug", tmp_path, folder, error) as disk, running(disk) as service:
        before_s = all_is_well_in_s(service)
        with service.connect() as ws:
            configure(ws, realtime=False)
            ws.send(pcm16(audio[:16_000]))
            until(lambda: service.get("/health")[1]["sessions"]["live"] == 1)
            disk.fail()
            told = answers(service, *sorted({"convert", "jobs"} | refused))
            ws.send(pcm16(audio[16_000:]))
            say(ws, type="end")
            payloads, texts, code = rest(ws)
        assert (texts[-1]["type"], code) == ("complete", 1000)
        out = from_pcm16(b"".join(payloads))
        assert np.abs(out - audio).max() < 1e-3
        fits = {"convert": (200, None), "jobs": (202, None)}
        assert told == {path: FULL if path in refused else fits[path] for path in told}
        assert service.get("/health/ready")[0] == 200
        # Another one begins, and its recording fails without a word to it.
        with service.connect() as ws:
            configure(ws, realtime=False)
            ws.send(pcm16(audio[:3200]))
            say(ws, type="end")
            assert rest(ws)[2] == 1000

        disk.work()
        assert all_is_well_in_s(service) < 5.0 + before_s
        assert service.stop() == 0
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


@pytest.mark.parametrize(("folder", "error"), cases(FOLDERS, ("temp", "EROFS")))
def test_a_service_drains_and_ends_on_a_disk_that_fails(
    tmp_path: Path, folder: str, error: str
) -> None:
    audio = buzz(6400)
    with disk_of("plug", tmp_path, folder, error) as disk, running(disk) as service:
        with service.connect() as ws:
            configure(ws)
            ws.send(pcm16(audio[:3200]))
            job = upload(service, "jobs", 600)
            assert job.status_code == 202
            disk.fail()
            service.process.terminate()
            payloads, message = [], hear(ws)
            while isinstance(message, bytes):
                payloads.append(message)
                message = hear(ws)
            assert message["type"] == "going_away"
            ws.send(pcm16(audio[3200:]))
            say(ws, type="end")
            more, texts, code = rest(ws)
        assert (texts[-1]["type"], code) == ("complete", 1000)
        assert len(b"".join(payloads + more)) == 2 * len(audio)
        assert service.stop() == 0
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


@pytest.mark.parametrize("error", ERRORS)
def test_a_job_whose_result_does_not_fit_says_so(tmp_path: Path, error: str) -> None:
    (tmp_path / "data").mkdir()
    disk = Disk(tmp_path, "data", error, trip="write")
    with running(disk) as service:
        job = upload(service, "jobs", 120)
        assert job.status_code == 202
        until(disk.switch.exists, "the disk fails under the result")
        disk.work()
        told = told_of(service, job)
        # Where not even its end could be kept it is done anew.
        assert told["state"] == "done" or told["error"]["error_code"] == "NO_SPACE"
        assert service.stop() == 0
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


SIZES = [
    pytest.param(folder, kb, marks=() if (folder, kb) == ("temp", 900) else pytest.mark.slow)
    for folder in FOLDERS
    for kb in (0, 60, 400, 900)
]


@pytest.mark.skipif(not can_mount(), reason="what is refused by a plug stands for it")
@pytest.mark.parametrize(("folder", "left_kb"), SIZES)
def test_on_a_small_disk_each_upload_fits_or_is_refused(
    tmp_path: Path, folder: str, left_kb: int
) -> None:
    with mounted(tmp_path / folder):
        disk = SmallDisk(tmp_path, folder, "ENOSPC", left_kb=left_kb)
        with running(disk) as service:
            disk.fail()
            job = upload(service, "jobs", 20)
            # To make a voice takes long, where it can be kept.
            paths = ("jobs", "convert", "voices") if folder == "data" else ("jobs", "convert")
            told = answers(service, *paths, seconds=20)
            assert job.status_code in {202, 507}
            if job.status_code == 202:
                ended = told_of(service, job)
                assert ended["state"] == "done" or ended["error"]["error_code"] == "NO_SPACE"
            assert told["jobs"] in {(202, None), FULL}
            assert told["convert"] in {(200, None), FULL}
            assert told.get("voices", FULL) in {(201, None), FULL}
            if folder == "temp":
                assert told["convert"] == FULL
            disk.work()
            all_is_well_in_s(service)
            assert service.stop() == 0
    log = (tmp_path / "stderr.txt").read_text()
    assert "Traceback" not in log
    for line in log.splitlines():
        if "No space left" in line or "is full" in line:
            assert str(tmp_path / folder) in line, "the log names the folder"


# ------------------------------------------------------------- the command line


@pytest.mark.parametrize("trip", ["", "write", "rename"])
@pytest.mark.parametrize("error", ERRORS)
def test_a_conversion_that_does_not_fit_says_so(tmp_path: Path, error: str, trip: str) -> None:
    (tmp_path / "outputs").mkdir()
    disk = Disk(tmp_path, "outputs", error, trip)
    clip = tmp_path / "clip.wav"
    clip.write_bytes(wav(100.0))
    if not trip:
        disk.fail()
    done = fast_vc(disk, "convert", str(clip), "--output-dir", str(disk.path), "--json")
    assert done.returncode == 1
    (told,) = json.loads(done.stdout)["files"]
    assert os.strerror(getattr(errno, error)) in told["error"]
    assert "ystem error" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    disk.work()
    disk.trip = ""
    left = list(disk.path.iterdir())
    assert left == [] or error == "EROFS", "a full disk lets go of what was begun"
    done = fast_vc(disk, "convert", str(clip), "--output-dir", str(disk.path))
    assert done.returncode == 0
    assert len(read_audio(disk.path / "clip.wav")[0]) == 1_600_000
    assert len(list(disk.path.iterdir())) == 1


@pytest.mark.parametrize(
    ("folder", "error"), cases(("logs", "temp", "data", "checkpoints"), ("checkpoints", "EROFS"))
)
def test_a_conversion_needs_no_other_folder(tmp_path: Path, folder: str, error: str) -> None:
    with disk_of("plug", tmp_path, folder, error) as disk:
        clip = tmp_path / "clip.wav"
        clip.write_bytes(wav())
        disk.fail()
        done = fast_vc(disk, "convert", str(clip), "--output-dir", str(tmp_path / "there"))
    assert done.returncode == 0, done.stderr
    assert len(read_audio(tmp_path / "there" / "clip.wav")[0]) == 16_000
