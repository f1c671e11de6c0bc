from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fake_service import ADMIN, ALICE, BOB, FakeService, catalogue, file_decoder, some_keys
from speech import as_file
from starlette.testclient import TestClient
from test_voice_routes import refused

from fast_vc_service.contract import FloatArray
from fast_vc_service.models.passthrough.converter import PassthroughConverter
from fast_vc_service.server.auth import KeyRing
from fast_vc_service.server.http.application import create_http_app
from fast_vc_service.server.http.jobs.store import JobStore, StoreTakenError
from fast_vc_service.server.http.jobs.work import FileWork
from waiting import until


class Slow(PassthroughConverter):
    """Waits before each block until it is let go."""

    def __init__(self) -> None:
        super().__init__(block_ms=1000)
        self.go = threading.Event()
        self.go.set()
        self.steps = 0

    def step(self, blocks: FloatArray, states: Any) -> FloatArray:
        self.go.wait(20)
        self.steps += 1
        made: FloatArray = super().step(blocks, states)
        return made


class Bench:
    """A service whose jobs run for as long as a test does."""

    def __init__(self, folder: Path, keys: KeyRing) -> None:
        self.folder = folder
        self.converter = Slow()
        voices = catalogue(folder / "voices")
        self.work = FileWork(lambda: self.converter, voices.get, file_decoder(), workers=1)
        self.store = JobStore(folder / "jobs", max_waiting=2)
        self.service = FakeService(voices, self.work, keys, jobs=self.store)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._running = asyncio.run_coroutine_threadsafe(self.work.run_jobs(self.store), self._loop)
        self.app = create_http_app(self.service)

    def client(self, key: str | None = None, host: str = "127.0.0.1") -> TestClient:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return TestClient(self.app, "http://localhost:8042", client=(host, 50_000), headers=headers)

    def wake(self) -> None:
        self._loop.call_soon_threadsafe(self.work.wake)

    def stop(self) -> None:
        self._running.cancel()
        until(lambda: asyncio.run_coroutine_threadsafe(_tasks(), self._loop).result() <= 1)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.work.stop()
        self.store.close()


async def _tasks() -> int:
    return len(asyncio.all_tasks())


Start = Callable[..., Bench]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    benches: list[Bench] = []

    def made(keys: KeyRing | None = None) -> Bench:
        benches.append(Bench(tmp_path, keys or KeyRing()))
        return benches[-1]

    yield made
    for bench in benches:
        bench.converter.go.set()
        if bench._thread.is_alive():
            bench.stop()


def chirp(seconds: float, rate: int = 16_000, channels: int = 1) -> FloatArray:
    time_s = np.arange(round(seconds * rate)) / rate
    tone = 0.5 * np.sin(2 * np.pi * (200 + 100 * time_s) * time_s)
    audio = np.repeat(tone[:, None], channels, axis=1) if channels > 1 else tone
    return audio.astype(np.float32)


def post(client: TestClient, path: str, content: bytes, **fields: Any) -> Any:
    return client.post(path, data=fields, files={"file": ("my talk.wav", content)})


def finished(bench: Bench, client: TestClient, job_id: str, state: str = "done") -> dict[str, Any]:
    bench.wake()

    def job() -> dict[str, Any] | None:
        told: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
        return told if told["state"] == state else None

    found = until(job, f"a job that is {state}")
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
@pytest.mark.parametrize(("rate", "seconds"), [(8_000, 0.03), (44_100, 3.217), (96_000, 1.0)])
def test_a_converted_file_has_the_length_of_its_source(
    start: Start, kind: str, rate: int, seconds: float
) -> None:
    audio = chirp(seconds, rate, channels=2)
    answer = post(start().client(), "/convert", as_file(audio, rate), format=kind, voice="alto")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == f"audio/{kind}"
    assert answer.headers["x-voice"] == "alto"
    assert f"my%20talk-alto.{kind}" in answer.headers["content-disposition"]
    info = soundfile.info(io.BytesIO(answer.content))
    assert (info.frames, info.samplerate, info.channels) == (len(audio), rate, 1)
    heard, _ = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    assert len(heard) == len(audio)
    if seconds > 1:
        inner = slice(len(heard) // 10, -len(heard) // 10)
        assert np.abs(heard[inner] - audio[inner, 0]).max() < (0.1 if kind == "ogg" else 0.01)


def test_wav_is_announced_to_the_byte_and_kept_nowhere(start: Start) -> None:
    bench = start()
    answer = post(bench.client(), "/convert", as_file(chirp(2.0), 16_000))
    assert int(answer.headers["content-length"]) == len(answer.content) == 80 + 2 * 32_000
    assert [path.name for path in (bench.folder / "jobs").iterdir() if path.is_dir()] == []


def test_what_is_wrong_with_a_request_is_said(start: Start) -> None:
    bench = start()
    client, good = bench.client(), as_file(chirp(0.5), 16_000)
    for path in ("/convert", "/jobs"):
        details = refused(post(client, path, good, voice="robot"), 404, "UNKNOWN_VOICE")
        assert "alto" in details["available"]
        for field, value in [("pitch_shift", "25"), ("pitch_shift", "nan"), ("format", "mp3")]:
            answer = post(client, path, good, **{field: value})
            assert refused(answer, 400, "INVALID_REQUEST")["field"] == field
        refused(post(client, path, b"no audio"), 415, "UNSUPPORTED_AUDIO")
        long = as_file(np.zeros(8_000 * 101, np.int16), 8_000, "FLAC")
        refused(post(client, path, long), 413, "TOO_LARGE")
        refused(client.post(path, data={"voice": "alto"}, files={"x": b""}), 400, "INVALID_REQUEST")
        bench.service.state = "draining"
        answer = post(client, path, good)
        refused(answer, 503, "BUSY")
        assert int(answer.headers["retry-after"]) > 0
        bench.service.state = "ready"
    assert bench.store.list_jobs(None, everyone=True) == []


def test_a_job_is_made_watched_and_fetched(start: Start) -> None:
    bench = start()
    client = bench.client()
    audio = chirp(5.0, 24_000)
    bench.converter.go.clear()
    answer = post(client, "/jobs", as_file(audio, 24_000), voice="bass", format="flac")
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert (job["state"], job["progress"], job["filename"]) == ("queued", 0.0, "my talk.wav")
    assert job["duration_s"] == pytest.approx(5.0)
    finished(bench, client, job["id"], "running")
    refused(client.get(f"/jobs/{job['id']}/result"), 409, "JOB_NOT_DONE")
    bench.converter.go.set()
    done = finished(bench, client, job["id"])
    assert done["progress"] == 1.0
    assert done["expires_at"] == pytest.approx(done["finished_at"] + 3600)
    result = client.get(f"/jobs/{job['id']}/result")
    assert result.headers["content-type"] == "audio/flac"
    assert soundfile.info(io.BytesIO(result.content)).frames == len(audio)
    part = client.get(f"/jobs/{job['id']}/result", headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"fLaC")
    assert [listed["id"] for listed in client.get("/jobs").json()["jobs"]] == [job["id"]]
    assert client.delete(f"/jobs/{job['id']}").status_code == 204
    refused(client.get(f"/jobs/{job['id']}"), 404, "UNKNOWN_JOB")
    assert not (bench.folder / "jobs" / job["id"]).exists()


def test_a_running_job_is_cancelled_and_a_waiting_one_too(start: Start) -> None:
    bench = start()
    client, content = bench.client(), as_file(chirp(20.0, 8_000), 8_000)
    bench.converter.go.clear()
    ids = [post(client, "/jobs", content).json()["id"]]
    finished(bench, client, ids[0], "running")
    ids += [post(client, "/jobs", content).json()["id"] for _ in range(2)]
    answer = post(client, "/jobs", content)
    refused(answer, 503, "QUEUE_FULL")
    assert int(answer.headers["retry-after"]) > 0
    for job_id in ids[:2]:
        assert client.delete(f"/jobs/{job_id}").status_code == 204
    bench.converter.go.set()
    finished(bench, client, ids[2])
    steps = bench.converter.steps
    assert steps < 25, "the cancelled ones were converted too"
    left = [path.name for path in (bench.folder / "jobs").iterdir() if path.is_dir()]
    assert left == [ids[2]]


def test_jobs_survive_a_restart(start: Start) -> None:
    first = start()
    content = as_file(chirp(6.0), 16_000)
    done = post(first.client(), "/jobs", content).json()["id"]
    finished(first, first.client(), done)
    first.converter.go.clear()
    ids = [post(first.client(), "/jobs", content).json()["id"] for _ in range(2)]
    finished(first, first.client(), ids[0], "running")
    first.converter.go.set()
    first.stop()
    (first.folder / "jobs" / "0123").mkdir()  # what a crash between two steps leaves
    second = start()
    assert not (first.folder / "jobs" / "0123").exists()
    for job_id in [done, *ids]:
        finished(second, second.client(), job_id)
        content = second.client().get(f"/jobs/{job_id}/result").content
        assert soundfile.info(io.BytesIO(content)).frames == 96_000


def test_jobs_of_a_killed_service_run_again(tmp_path: Path, start: Start) -> None:
    store = JobStore(tmp_path / "jobs", max_waiting=9)
    (tmp_path / "upload").write_bytes(as_file(chirp(1.0), 16_000))
    bench_job = {"sample_rate": 16_000, "channels": 1, "frames": 16_000}
    from fast_vc_service.server.http.jobs.store import Job, new_job_id

    job = Job(
        new_job_id(), None, "queued", "alto", 0.0, "wav", "a.wav", 1.0, created_at=1.0, **bench_job
    )
    store.add(tmp_path / "upload", job)
    taken = store.take()
    assert taken is not None
    with pytest.raises(StoreTakenError):
        JobStore(tmp_path / "jobs", max_waiting=9)
    store.close()  # as the system does for a killed process: the row still says "running"
    bench = start()
    finished(bench, bench.client(), taken.id)


def test_old_jobs_go_with_their_files(start: Start) -> None:
    bench = start()
    client = bench.client()
    job_id = post(client, "/jobs", as_file(chirp(0.5), 16_000)).json()["id"]
    finished(bench, client, job_id)
    assert bench.store.expire(time.time() - 60) == 0
    assert bench.store.expire(time.time() + 1) == 1
    refused(client.get(f"/jobs/{job_id}/result"), 404, "UNKNOWN_JOB")
    assert not (bench.folder / "jobs" / job_id).exists()


def test_a_job_fails_with_a_reason_and_the_next_one_runs(start: Start) -> None:
    bench = start()
    client = bench.client()
    bench.converter.go.clear()
    content = as_file(chirp(2.0), 16_000)
    first = post(client, "/jobs", content).json()["id"]
    finished(bench, client, first, "running")
    second = post(client, "/jobs", content).json()["id"]
    bench.store.source(second).write_bytes(b"RIFF damaged on the disk")
    bench.converter.go.set()
    failed = finished(bench, client, second, "failed")
    assert failed["error"]["error_code"] == "UNSUPPORTED_AUDIO"
    assert str(bench.folder) not in str(failed)
    refused(client.get(f"/jobs/{second}/result"), 409, "JOB_NOT_DONE")
    third = post(client, "/jobs", content).json()["id"]
    finished(bench, client, third)


def test_a_job_is_its_keys_alone(start: Start) -> None:
    bench = start(some_keys())
    alice, bob, admin = (bench.client(key) for key in (ALICE, BOB, ADMIN))
    job_id = post(alice, "/jobs", as_file(chirp(0.5), 16_000)).json()["id"]
    finished(bench, alice, job_id)
    for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/result"):
        refused(bob.get(path), 404, "UNKNOWN_JOB")
        assert admin.get(path).status_code == 200
    refused(bob.delete(f"/jobs/{job_id}"), 404, "UNKNOWN_JOB")
    assert bob.get("/jobs").json() == {"jobs": []}
    assert len(admin.get("/jobs").json()["jobs"]) == 1
    refused(bench.client().get("/jobs"), 401, "AUTH_FAILED")


def test_without_keys_only_this_machine_lists_jobs(start: Start) -> None:
    bench = start()
    far = bench.client(host="192.0.2.7")
    job_id = post(far, "/jobs", as_file(chirp(0.5), 16_000)).json()["id"]
    finished(bench, far, job_id)
    refused(far.get("/jobs"), 403, "FORBIDDEN")
    assert far.delete(f"/jobs/{job_id}").status_code == 204


def test_more_conversions_than_workers_are_told_to_come_back(start: Start) -> None:
    bench = start()
    content = as_file(chirp(3.0), 16_000)
    bench.converter.go.clear()
    answers: list[Any] = []
    first = threading.Thread(
        target=lambda: answers.append(post(bench.client(), "/convert", content))
    )
    first.start()
    until(lambda: bench.work.full)
    refused(post(bench.client(), "/convert", content), 503, "BUSY")
    bench.converter.go.set()
    first.join()
    assert answers[0].status_code == 200
    assert not bench.work.full
