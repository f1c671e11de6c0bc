"""A voice uploaded while somebody talks: at once theirs to change to, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pyworld
from service import ROOT, RunningService, launch

from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.client import (
    Notice,
    SyncServiceClient,
    SyncVoiceClient,
    Updated,
    VoiceServiceError,
    Warned,
)
from fast_vc_service.contract import FloatArray

RATE = 16_000
SOURCE = ROOT / "wavs/sources/low-pitched-male-24k.wav"
ALICE, BOB = "alice's own key", "the key of bob"
KEYS = json.dumps([{"name": "alice", "key": ALICE}, {"name": "bob", "key": BOB}])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """WORLD: its voices are heard, and it needs no torch session of its own."""
    running = launch(
        tmp_path_factory.mktemp("keyed"),
        "--engine",
        "world",
        max_sessions=4,
        late_ms=20_000,
        api_keys=KEYS,
    )
    running.wait_until("ready")
    yield running
    running.stop()


def speech(seconds: float) -> FloatArray:
    samples, rate = read_audio(SOURCE)
    return resample(samples, rate, RATE)[: round(seconds * RATE)]


def median_f0_hz(samples: FloatArray) -> float:
    f0, _ = pyworld.harvest(samples.astype(np.float64), RATE, f0_floor=60, f0_ceil=600)
    return float(np.median(f0[f0 > 0]))


def test_a_live_session_changes_to_a_voice_uploaded_during_it(service: RunningService) -> None:
    notices: list[Notice] = []
    first, second = np.split(speech(8.0), 2)
    with (
        SyncServiceClient(f"http://127.0.0.1:{service.port}", api_key=ALICE) as http,
        SyncVoiceClient(
            service.url, api_key=ALICE, voice="bass", realtime=False, on_notice=notices.append
        ) as session,
    ):
        hearing = iter(session)
        session.send(first)
        heard = [next(hearing)]  # it converts already
        added = http.add_voice("anna", ROOT / "wavs/references/soprano.wav", consent=True)
        assert added.owner == "alice"
        session.update(voice="anna")
        session.send(second)
        session.end()
        output = np.concatenate([*heard, *hearing])
    assert len(output) == len(first) + len(second)
    assert [type(notice) for notice in notices] == [Updated]
    (updated,) = notices
    assert isinstance(updated, Updated)
    assert updated.voice == "anna"
    at = round(updated.from_sent_ms * RATE / 1e3)
    assert abs(at - len(first)) < RATE, "from the next block on, less the delay that is cut"
    assert median_f0_hz(output[at + RATE // 2 :]) > 1.5 * median_f0_hz(output[:at])


def test_nobody_else_may_speak_with_it(service: RunningService) -> None:
    clip = ROOT / "wavs/references/alto.wav"
    with SyncServiceClient(f"http://127.0.0.1:{service.port}", api_key=ALICE) as http:
        http.add_voice("bea", clip, consent=True)
    with (
        pytest.raises(VoiceServiceError, match="UNKNOWN_VOICE") as refused,
        SyncVoiceClient(service.url, api_key=BOB, voice="bea"),
    ):
        pass
    available = refused.value.details["available"]
    assert isinstance(available, list)
    assert "bea" not in available
    assert "alto" in available
    notices: list[Notice] = []
    with SyncVoiceClient(
        service.url, api_key=BOB, voice="bass", realtime=False, on_notice=notices.append
    ) as session:
        session.send(speech(1.0))
        session.update(voice="bea")
        session.end()
        assert sum(map(len, session)) == RATE
    assert [(type(notice), getattr(notice, "code", None)) for notice in notices] == [
        (Warned, "UNKNOWN_VOICE")
    ]
    with SyncServiceClient(f"http://127.0.0.1:{service.port}", api_key=BOB) as http:
        own = http.add_voice("bea", clip, consent=True)
    assert own.owner == "bob", "a name is free for each key"


def test_a_blend_is_heard_between_its_voices(service: RunningService, tmp_path: Path) -> None:
    """In a session, in an update, in a file and in a job; one of its voices is uploaded."""
    notices: list[Notice] = []
    blend = {"bass": 1, "cleo": 1}
    with SyncServiceClient(f"http://127.0.0.1:{service.port}", api_key=ALICE) as http:
        http.add_voice("cleo", ROOT / "wavs/references/soprano.wav", consent=True)
        registers = {}
        for name, voice in {"bass": "bass", "cleo": "cleo", "between": blend}.items():
            output = tmp_path / f"{name}.wav"
            http.convert_file(SOURCE, output, voice=voice)
            samples, rate = read_audio(output)
            registers[name] = median_f0_hz(resample(samples, rate, RATE))
        job = http.submit_job(SOURCE, voice=blend)
        assert job.voice == {"bass": 0.5, "cleo": 0.5}
        assert http.wait_for_job(job.id, every_s=0.05).voice == job.voice
        http.job_result(job.id, tmp_path / "job.wav")
        for wrong, code in (
            ({"bass": 0.0}, "INVALID_REQUEST"),
            ({"robot": 1, "bass": 1}, "UNKNOWN_VOICE"),
        ):
            with pytest.raises(VoiceServiceError, match=code):
                http.convert_file(SOURCE, tmp_path / "wrong.wav", voice=wrong)
    assert 1.2 * registers["bass"] < registers["between"] < registers["cleo"] / 1.2
    samples, rate = read_audio(tmp_path / "job.wav")
    assert median_f0_hz(resample(samples, rate, RATE)) == pytest.approx(registers["between"], 0.03)
    with SyncVoiceClient(
        service.url, api_key=ALICE, voice=blend, realtime=False, on_notice=notices.append
    ) as session:
        assert session.ready is not None
        assert session.ready.voice == {"bass": 0.5, "cleo": 0.5}
        session.send(speech(4.0))
        session.update(voice={"bass": 3, "cleo": 1})
        session.send(speech(1.0))
        session.end()
        output = np.concatenate(list(session))
    # The speaker's own register is still being learned here, so this is no more exact.
    assert 1.1 * registers["bass"] < median_f0_hz(output[: 4 * RATE]) < registers["cleo"] / 1.1
    assert [getattr(notice, "voice", None) for notice in notices] == [{"bass": 0.75, "cleo": 0.25}]
    with (
        pytest.raises(VoiceServiceError, match="UNKNOWN_VOICE"),
        SyncVoiceClient(service.url, api_key=BOB, voice=blend),
    ):
        pass
