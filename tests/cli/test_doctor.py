from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fast_vc_service.commands import doctor
from fast_vc_service.commands.check import Check
from fast_vc_service.commands.check_engine import compare
from fast_vc_service.contract import FloatArray, State
from fast_vc_service.engine.capacity import Capacity
from fast_vc_service.errors import UserError
from fast_vc_service.models.passthrough.converter import PassthroughConverter
from fast_vc_service.process.address import bind_socket
from fast_vc_service.process.cuda import CudaFacts
from fast_vc_service.settings import Settings

REFERENCES = Path(__file__).parents[2] / "wavs/references"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = {name: tmp_path / name for name in ("models_dir", "temp_dir", "logs_dir")}
    return Settings(engine="passthrough", port=0, voices_dir=REFERENCES, **places)  # type: ignore[arg-type]


def finding(settings: Settings, name: str) -> Check:
    return {check.name: check for check in doctor.examine(settings)}[name]


def test_a_sound_machine_is_told_so(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(settings, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in told["checks"]}
    assert told["ok"] is True
    # A machine that is very busy just now warns of it as well.
    assert set(checks) - {"capacity"} == {
        *("machine", "device", "libopus", "port", "access", "open files", "folders"),
        *("voices", "delay", "speed", "streaming"),
    }
    assert checks["delay"]["values"]["block_ms"] == 20
    assert checks["speed"]["values"]["real_time_factor_p95"] < 1
    assert checks["streaming"]["values"]["max_difference"] == 0
    assert "alto" in checks["voices"]["values"]["voices"]


def test_a_person_reads_the_findings(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.run(settings) == 0
    out = capsys.readouterr().out
    assert "keeps up" in out
    assert "This machine can run the service." in out


def test_the_engine_of_the_service_keeps_the_streaming_law(settings: Settings) -> None:
    world = settings.model_copy(update={"engine": "world"})
    assert finding(world, "streaming").verdict == "ok"


def test_a_taken_port_is_a_problem(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with bind_socket("127.0.0.1", 0) as listener:
        taken = settings.model_copy(update={"port": listener.getsockname()[1]})
        assert doctor.run(taken) == 1
    out = capsys.readouterr().out
    assert "is taken by" in out
    assert "1 problem stops the service." in out


def test_a_missing_default_voice_is_a_problem(settings: Settings) -> None:
    check = finding(settings.model_copy(update={"default_voice": "nobody"}), "voices")
    assert check.verdict == "problem"
    assert "available: alto" in check.finding


def test_an_impossible_latency_is_a_problem(settings: Settings) -> None:
    check = finding(settings.model_copy(update={"engine": "world", "latency_ms": 20}), "engine")
    assert check.verdict == "problem"
    assert check.finding.startswith("latency_ms: expected")


def test_missing_libopus_is_a_warning(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "opus_available", lambda: False)
    check = doctor.check_opus()
    assert check.verdict == "warning"
    assert "libopus" in check.advice


@pytest.mark.parametrize(("rtf", "verdict"), [(0.2, "ok"), (0.9, "warning"), (1.2, "problem")])
def test_speed_is_judged(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, rtf: float, verdict: str
) -> None:
    from fast_vc_service.engine.build import Engine

    capacity = Capacity(sessions=1, step_s=0.02 * rtf, batch=1, stream_s=1e-4, block_s=0.02)
    monkeypatch.setattr(Engine, "warm_up", lambda _engine, _voice: [capacity])
    check = finding(settings, "speed")
    assert check.verdict == verdict
    assert bool(check.advice) == (verdict != "ok")


def test_what_keeps_a_model_from_being_loaded_is_a_finding(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fast_vc_service.engine.build import Engine

    def fail(_engine: Engine, _voice: object) -> None:
        raise UserError("the model cannot be loaded on cuda:0: CUDA error: out of memory")

    monkeypatch.setattr(Engine, "warm_up", fail)
    check = finding(settings, "engine")
    assert check.verdict == "problem"
    assert check.finding.endswith("on cuda:0: CUDA error: out of memory")


def test_a_device_that_cannot_be_used_is_a_problem(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = CudaFacts("2.13.0+cpu", None)
    monkeypatch.setattr(doctor, "facts_of", lambda _index: facts)
    check = doctor.check_device(settings.model_copy(update={"device": "cpu,cuda:1"}))
    assert check.verdict == "problem"
    assert "cuda:1: PyTorch 2.13.0+cpu is its CPU build" in check.finding
    assert doctor.check_device(settings).verdict == "ok"


def test_a_device_is_compared_with_the_cpu() -> None:
    here = PassthroughConverter(block_ms=20, delay_ms=20)
    voice = here.make_voice("any", np.ones(16_000, np.float32), 16_000)
    assert compare(here, here, voice, 0.0).verdict == "ok"

    class Louder(PassthroughConverter):
        def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
            return 1.01 * super().step(blocks, states)

    other = compare(here, Louder(block_ms=20, delay_ms=20), voice, 1e-4)
    assert other.verdict == "warning"
    assert "expected 0.0001" in other.finding


def test_others_can_only_reach_it_with_keys(settings: Settings) -> None:
    open_to_all = settings.model_copy(update={"host": "0.0.0.0"})
    assert doctor.check_access(open_to_all).verdict == "problem"
    allowed = open_to_all.model_copy(update={"allow_anonymous": True})
    assert doctor.check_access(allowed).verdict == "warning"


def test_a_folder_that_cannot_be_made_is_a_problem(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    blocked = settings.model_copy(update={"logs_dir": tmp_path / "file" / "logs"})
    (check,) = doctor.check_folders(blocked)
    assert check.verdict == "problem"
    assert "logs_dir" in check.finding


def test_too_few_open_files_are_a_warning(settings: Settings) -> None:
    check = doctor.check_files(settings.model_copy(update={"max_connections": 10**9}))
    assert check.verdict == "warning"
    assert check.advice
