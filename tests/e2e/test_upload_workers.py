"""Uploads are read in a process of their own: its crash costs one upload and nobody else."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest
import soundfile
from service import ROOT, RunningService, launch

from fast_vc_service.client import SyncVoiceClient
from waiting import PATIENCE_S, until

SOURCE = ROOT / "wavs/sources/low-pitched-male-24k.wav"
LONG_S = 20_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    running = launch(
        tmp_path_factory.mktemp("workers"),
        "--engine",
        "passthrough",
        max_file_s=2 * LONG_S,
        late_ms=20_000,
    )
    running.wait_until("ready")
    # From now on the worker for voices has nothing to do, and a new process is the one for files.
    until(lambda: all(voice["ready"] for voice in running.get("/voices")[1]["voices"]))
    yield running
    running.stop()


def workers(service: RunningService) -> list[psutil.Process]:
    found = psutil.Process(service.process.pid).children()
    return [
        process for process in found if "fast_vc_service.process.worker.child" in cmdline(process)
    ]


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def convert(service: RunningService, content: bytes) -> httpx.Response:
    address = f"http://127.0.0.1:{service.port}/convert"
    return httpx.post(address, files={"file": ("talk.wav", content)}, timeout=10 * PATIENCE_S)


def failures(service: RunningService) -> float:
    lines = service.get("/metrics")[1].splitlines()
    found = [line for line in lines if line.startswith("fast_vc_worker_failures_total{")]
    return sum(float(line.split()[-1]) for line in found)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Hours of silence, which take longer to read than a test takes to notice."""
    path = tmp_path_factory.mktemp("long") / "long.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1, format="FLAC") as file:
        for _ in range(LONG_S // 1_000):
            file.write(np.zeros(8_000_000, np.int16))
    return path.read_bytes()


@pytest.mark.slow
def test_a_crash_costs_one_upload(service: RunningService, long: bytes) -> None:
    before = {process.pid for process in workers(service)}
    speech = np.zeros(16_000, np.float32)
    with (
        SyncVoiceClient(service.url, sample_rate=16_000, realtime=False) as session,
        ThreadPoolExecutor(1) as thread,
    ):
        session.send(speech)
        uploading = thread.submit(convert, service, long)
        (worker,) = until(
            lambda: [each for each in workers(service) if each.pid not in before], "a worker"
        )
        os.kill(worker.pid, signal.SIGSEGV)
        refused = uploading.result()
        assert refused.status_code in {415, 503}, refused.text
        assert refused.json()["error_code"] in {"UNSUPPORTED_AUDIO", "BUSY"}
        assert failures(service) == 1
        garbage = convert(service, b"fLaC" + os.urandom(20_000))
        assert (garbage.status_code, garbage.json()["error_code"]) == (415, "UNSUPPORTED_AUDIO")
        assert str(service.home) not in garbage.text
        good = convert(service, SOURCE.read_bytes())
        assert good.status_code == 200, good.text
        session.send(speech)
        session.end()
        assert sum(len(piece) for piece in session) == 2 * len(speech)
    assert soundfile.info(io.BytesIO(good.content)).frames == soundfile.info(SOURCE).frames
    assert failures(service) == 1, "garbage is refused, it crashes nothing"
    assert service.output().count("the file worker is replaced") == 1


@pytest.mark.slow
def test_workers_end_with_a_service_that_is_killed(service: RunningService, long: bytes) -> None:
    with ThreadPoolExecutor(1) as thread:
        uploading = thread.submit(convert, service, long)
        left = until(lambda: workers(service), "a worker")
        service.process.kill()
        service.process.wait()
        assert isinstance(uploading.exception(), httpx.HTTPError)
    # Where nobody takes care of orphans they stay as zombies.
    until(
        lambda: all(
            not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE for worker in left
        )
    )
