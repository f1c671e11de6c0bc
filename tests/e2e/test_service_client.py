"""The Python client's HTTP calls against a real service."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from service import ROOT, RunningService, free_port, launch

from fast_vc_service.audio.files import audio_info, read_audio
from fast_vc_service.client import (
    Job,
    ServiceClient,
    SyncServiceClient,
    SyncVoiceClient,
    VoiceServiceError,
)
from waiting import until_async

ALTO = ROOT / "wavs/references/alto.wav"
SOURCE = ROOT / "wavs/sources/low-pitched-male-24k.wav"
ALICE, BOB = "alice's own key", "the key of bob"
KEYS = json.dumps([{"name": "alice", "key": ALICE}, {"name": "bob", "key": BOB}])


def address(service: RunningService) -> str:
    return f"http://127.0.0.1:{service.port}"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with keys, whose answers are the input."""
    service = launch(
        tmp_path_factory.mktemp("keyed"),
        "--engine",
        "passthrough",
        max_sessions=4,
        api_keys=KEYS,
        auth_failure_delay_ms=10,
    )
    service.wait_until("ready")
    yield service
    service.stop()


@pytest.fixture
def alice(keyed: RunningService) -> Iterator[SyncServiceClient]:
    with SyncServiceClient(address(keyed), api_key=ALICE) as client:
        yield client


def test_a_voice_from_upload_to_removal(keyed: RunningService, alice: SyncServiceClient) -> None:
    before = {voice.name for voice in alice.voices()}
    added = alice.add_voice("anna", ALTO, consent=True, description="reads news")
    assert (added.owner, added.description, added.removable) == ("alice", "reads news", True)
    assert added.check is not None
    assert added.check["problems"] == []
    assert {voice.name for voice in alice.voices()} - before == {"anna"}
    assert alice.voice("anna") == added
    heard, rate = soundfile.read(io.BytesIO(alice.voice_sample("anna")), dtype="float32")
    sent, sent_rate = read_audio(ALTO)
    assert rate == sent_rate
    np.testing.assert_allclose(heard, sent[: len(heard)], atol=1e-4)
    with SyncServiceClient(address(keyed), api_key=BOB) as bob:
        assert {voice.name for voice in bob.voices()} == before
        for ask in (bob.voice, bob.voice_sample, bob.remove_voice):
            with pytest.raises(VoiceServiceError, match="UNKNOWN_VOICE"):
                ask("anna")
    alice.remove_voice("anna")
    assert {voice.name for voice in alice.voices()} == before


def test_refusals_have_the_services_code(keyed: RunningService, alice: SyncServiceClient) -> None:
    with pytest.raises(VoiceServiceError) as refused:
        alice.add_voice("anna", ALTO, consent=False)
    assert refused.value.code == "CONSENT_REQUIRED"
    assert refused.value.details["http_status"] == 400
    assert refused.value.hint is not None
    with (
        SyncServiceClient(address(keyed), api_key="neither of both") as stranger,
        pytest.raises(VoiceServiceError, match="AUTH_FAILED"),
    ):
        stranger.voices()


def test_a_file_keeps_rate_and_duration(alice: SyncServiceClient, tmp_path: Path) -> None:
    for suffix in ("wav", "flac"):
        output = tmp_path / f"out.{suffix}"
        alice.convert_file(SOURCE, output, voice="alto")
        assert audio_info(output) == audio_info(SOURCE)
    assert len(list(tmp_path.iterdir())) == 2, "nothing unfinished is left"
    with pytest.raises(ValueError, match="mp3"):
        alice.convert_file(SOURCE, tmp_path / "out.mp3")
    with pytest.raises(VoiceServiceError, match="UNKNOWN_VOICE"):
        alice.convert_file(SOURCE, tmp_path / "other.wav", voice="robot")
    assert not (tmp_path / "other.wav").exists()


def test_a_job_from_submission_to_result(alice: SyncServiceClient, tmp_path: Path) -> None:
    job = alice.submit_job(SOURCE, voice="alto", file_format="flac")
    assert (job.voice, job.format, job.filename) == ("alto", "flac", SOURCE.name)
    told: list[Job] = []
    done = alice.wait_for_job(job.id, told.append, every_s=0.05)
    assert (done.state, done.progress) == ("done", 1.0)
    assert told[-1] == done
    alice.job_result(job.id, tmp_path / "result.flac")
    assert audio_info(tmp_path / "result.flac") == audio_info(SOURCE)
    assert job.id in {other.id for other in alice.jobs()}
    alice.cancel_job(job.id)
    with pytest.raises(VoiceServiceError, match="UNKNOWN_JOB"):
        alice.job(job.id)


def test_progress_is_told_and_a_running_job_is_cancelled(
    alice: SyncServiceClient, tmp_path: Path
) -> None:
    long = tmp_path / "long.flac"
    soundfile.write(long, np.zeros(8_000 * 3000, np.int16), 8_000)
    job = alice.submit_job(long)

    def cancel_once_it_runs(state: Job) -> None:
        if 0.0 < state.progress < 1.0:
            alice.cancel_job(job.id)

    with pytest.raises(VoiceServiceError, match="UNKNOWN_JOB"):
        alice.wait_for_job(job.id, cancel_once_it_runs, every_s=0.01)


def test_a_token_stands_for_its_key(keyed: RunningService, alice: SyncServiceClient) -> None:
    token = alice.browser_token()
    assert token.expires_in_s > 0
    with SyncVoiceClient(keyed.url, api_key=token.token) as session:
        session.send(np.zeros(1_600, np.float32))
        session.end()
        assert sum(map(len, session)) == 1_600


def test_the_same_in_an_event_loop(passthrough: RunningService, tmp_path: Path) -> None:
    async def use() -> list[Job]:
        told: list[Job] = []
        async with ServiceClient(address(passthrough)) as service:
            await service.add_voice("bea", ALTO, consent=True)
            await service.convert_file(SOURCE, tmp_path / "out.wav", voice="bea")
            job = await service.submit_job(SOURCE, voice="bea")
            await service.wait_for_job(job.id, told.append, every_s=0.05)
            await service.job_result(job.id, tmp_path / "job.wav")
            await service.remove_voice("bea")
            with pytest.raises(VoiceServiceError, match="NO_KEYS"):
                await service.browser_token()
        return told

    assert asyncio.run(use())[-1].state == "done"
    first, second = (read_audio(tmp_path / name)[0] for name in ("out.wav", "job.wav"))
    np.testing.assert_allclose(first, second, atol=2**-15)


def test_an_address_where_nobody_listens_is_told() -> None:
    with (
        SyncServiceClient(f"http://127.0.0.1:{free_port()}") as client,
        pytest.raises(VoiceServiceError, match="CONNECTION_FAILED"),
    ):
        client.voices()


def test_a_stop_in_the_middle_leaves_no_file(
    launch_service: Callable[..., RunningService], tmp_path: Path
) -> None:
    service = launch_service(max_sessions=2)
    service.wait_until("ready")
    long, output = tmp_path / "long.flac", tmp_path / "output"
    soundfile.write(long, np.zeros(8_000 * 3000, np.int16), 8_000)
    output.mkdir()

    async def convert() -> None:
        async with ServiceClient(address(service)) as client:
            converting = asyncio.create_task(client.convert_file(long, output / "out.wav"))
            await until_async(lambda: list(output.iterdir()))
            service.process.kill()
            await converting

    with pytest.raises(VoiceServiceError, match="CONNECTION_LOST"):
        asyncio.run(convert())
    assert list(output.iterdir()) == []
