"""A whole clip through a server that behaves, refuses or stalls."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fake_server
import numpy as np
import pytest
from fake_server import FakeServer

from fast_vc_service.audio.files import AudioFileError, read_audio, write_audio
from fast_vc_service.client import VoiceServiceError, convert_file_over_ws
from fast_vc_service.client.run import Outcome, Plan, load_clip, run_clip, with_register
from fast_vc_service.contract import FloatArray


def noise(seconds: float, rate: int = 16_000) -> FloatArray:
    random = np.random.default_rng(0)
    return (0.1 * random.standard_normal(round(seconds * rate))).astype(np.float32)


def run(server: FakeServer, plan: Plan, clip: FloatArray) -> Outcome:
    async def body() -> Outcome:
        async with asyncio.timeout(20), server.run():
            return await run_clip(clip, dataclasses.replace(plan, url=server.url))

    return asyncio.run(body())


@contextmanager
def running(server: FakeServer) -> Iterator[FakeServer]:
    """Run ``server`` in a thread, for what brings its own event loop."""
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def body() -> None:
        loops.append(asyncio.get_running_loop())
        async with server.run():
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(body()))
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()


def test_real_time_takes_the_clips_time_and_measures_the_servers_delay() -> None:
    clip = noise(0.6)
    outcome = run(FakeServer(delay_s=0.1), Plan(), clip)
    assert outcome.error is None
    np.testing.assert_allclose(outcome.output, clip, atol=2 / 32768)
    assert outcome.duration_out_s == outcome.duration_in_s == pytest.approx(0.6)
    stats = outcome.statistics()
    assert stats["timeline_summary"]["send_duration_ms"] == pytest.approx(580)
    assert 100 <= stats["chunk_latency_stats"]["median_ms"] < 200
    assert 100 <= stats["first_token_latency_ms"] < 300
    assert stats["mouth_to_ear_stats"]["min_ms"] >= 120
    assert stats["is_real_time"] is True


def test_sends_are_scheduled_by_the_position_not_one_after_the_other() -> None:
    outcome = run(FakeServer(), Plan(chunk_ms=15), noise(0.1))
    sends = outcome.timeline.sends
    due = [(entry.timestamp - sends[0].timestamp) * 1e3 for entry in sends]
    assert due == pytest.approx([0, 15, 30, 45, 60, 75, 90], abs=1e-3)
    assert [entry.cumulative_ms for entry in sends] == pytest.approx([15, 30, 45, 60, 75, 90, 100])


def test_upload_is_told_to_the_server_and_does_not_wait() -> None:
    server = FakeServer()
    outcome = run(server, Plan(real_time=False, chunk_ms=100), noise(30.0))
    assert outcome.error is None
    assert server.hellos[0]["realtime"] is False
    stats = outcome.statistics()
    assert stats["chunk_latency_stats"]["mean_ms"] is None
    assert stats["timeline_summary"]["processing_start_to_end_ms"] < 15_000


def test_simple_dialect_is_not_told_what_it_cannot_say() -> None:
    server = FakeServer()
    outcome = run(server, Plan(dialect="simple", real_time=False), noise(0.1))
    assert outcome.error is None
    assert len(outcome.output) == 1600
    assert "realtime" not in server.hellos[0]


def test_failed_session_keeps_what_came_before() -> None:
    outcome = run(FakeServer(behaviour=fake_server.go_away), Plan(), noise(0.5))
    assert outcome.error is not None
    assert outcome.error.code == "GOING_AWAY"
    assert len(outcome.output) == 960
    assert len(outcome.timeline.recvs) == 3
    assert json.dumps(outcome.error.as_dict())


def test_refused_session_has_an_error_and_no_audio() -> None:
    outcome = run(
        FakeServer(behaviour=fake_server.refuse("BUSY", 4429, retry_after_s=5)), Plan(), noise(0.1)
    )
    assert outcome.error is not None
    assert outcome.error.details == {"retry_after_s": 5}
    assert len(outcome.output) == 0
    assert outcome.statistics()["first_token_latency_ms"] is None


def test_session_that_takes_too_long_is_a_failure() -> None:
    outcome = run(
        FakeServer(behaviour=fake_server.go_silent_after_ready), Plan(timeout_s=0.3), noise(0.1)
    )
    assert outcome.error is not None
    assert outcome.error.code == "CLIENT_TIMEOUT"
    assert outcome.ready is not None
    assert len(outcome.timeline.sends) == 5


def test_progress_ends_at_the_clips_length() -> None:
    told: list[float] = []

    async def body() -> None:
        async with FakeServer().run() as server:
            await run_clip(noise(0.05), Plan(url=server.url, real_time=False), told.append)

    asyncio.run(body())
    assert told == pytest.approx([0.02, 0.04, 0.05])


def test_clip_is_mixed_down_and_resampled(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    write_audio(path, noise(0.5, 44_100), 44_100)
    assert len(load_clip(path, 16_000)) == 8_000
    assert len(load_clip(path, 44_100)) == 22_050


def test_file_helper_writes_what_came_back(tmp_path: Path) -> None:
    source, output = tmp_path / "in.wav", tmp_path / "out.flac"
    write_audio(source, noise(1.0), 16_000)
    with running(FakeServer()) as server:
        outcome = convert_file_over_ws(source, output, url=server.url, voice="alto")
    assert server.hellos[0]["voice"] == "alto"
    samples, rate = read_audio(output)
    assert (len(samples), rate) == (16_000, 16_000)
    assert outcome.stats is not None


def buzz(seconds: float, hz: float) -> FloatArray:
    """A voiced sound: harmonics up to 3 kHz."""
    time_s = np.arange(round(seconds * 16_000)) / 16_000
    harmonics = [np.sin(2 * np.pi * n * hz * time_s) / n for n in range(1, round(3_000 / hz))]
    return np.asarray(0.2 * np.sum(harmonics, axis=0), np.float32)


def test_who_has_the_recording_measures_its_register_first(tmp_path: Path) -> None:
    source, output = tmp_path / "in.wav", tmp_path / "out.wav"
    write_audio(source, buzz(1.5, 120.0), 16_000)
    with running(FakeServer()) as server:
        convert_file_over_ws(source, output, url=server.url)
        convert_file_over_ws(source, output, url=server.url, source_f0_hz=200.0)
        write_audio(source, noise(1.0), 16_000)
        convert_file_over_ws(source, output, url=server.url)
    measured, given, unvoiced = server.hellos
    assert measured["source_f0_hz"] == pytest.approx(120, rel=0.01)
    assert given["source_f0_hz"] == 200.0
    assert "source_f0_hz" not in unvoiced


def test_a_clip_in_place_of_a_microphone_is_not_measured() -> None:
    clip = buzz(1.5, 120.0)
    assert with_register(Plan(), clip) == Plan()
    simple = with_register(Plan(dialect="simple", real_time=False), clip)
    assert simple.options["source_f0_hz"] == pytest.approx(120, rel=0.01)


def test_file_helper_raises_and_writes_nothing(tmp_path: Path) -> None:
    source, output = tmp_path / "in.wav", tmp_path / "out.wav"
    write_audio(source, noise(0.1), 16_000)
    server = FakeServer(behaviour=fake_server.refuse("AUTH_FAILED", 4401))
    with running(server), pytest.raises(VoiceServiceError, match="AUTH_FAILED"):
        convert_file_over_ws(source, output, url=server.url)
    assert not output.exists()
    with pytest.raises(AudioFileError):
        convert_file_over_ws(tmp_path / "no.wav", output)
