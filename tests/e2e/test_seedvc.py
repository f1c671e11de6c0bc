"""Seed-VC from WebSocket to WebSocket, in a real service process."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from service import ROOT, RunningService, launch
from websockets.exceptions import ConnectionClosed

from fast_vc_service.client import SyncServiceClient, VoiceServiceError
from fast_vc_service.models.presets import MODELS


@pytest.mark.slow
def test_two_sessions_are_converted_side_by_side(tmp_path: Path) -> None:
    service = launch(
        tmp_path,
        "--engine",
        "seedvc-tiny",
        program=[str(ROOT / "tests" / "e2e" / "small_seedvc.py")],
        max_sessions=2,
        late_ms=60_000,
        models_dir=tmp_path / "models",
    )
    try:
        service.wait_until("ready", 240)
        audio = (3000 * np.random.default_rng(0).standard_normal(12_000)).astype("<i2").tobytes()
        config = {"type": "config", "realtime": False, "sample_rate_out": 22_050}
        with contextlib.ExitStack() as connections:
            both = []
            for voice in ("soprano", "bass"):
                # Not before its turn: a voice may take longer than a first message.
                ws = connections.enter_context(service.connect())
                both.append(ws)
                ws.send(json.dumps(config | {"voice": voice}))
                ready = json.loads(ws.recv(timeout=120))
                assert ready["engine"] == "seedvc-tiny", ready
                assert ready["block_ms"] >= 300
                ws.send(audio)
                ws.send(json.dumps({"type": "end"}))
            outs = []
            for ws in both:
                payload = b""
                while isinstance(message := ws.recv(timeout=240), bytes):
                    payload += message
                assert json.loads(message)["type"] == "complete", message
                outs.append(np.frombuffer(payload, "<i2"))
        assert [len(out) for out in outs] == [round(12_000 * 22_050 / 16_000)] * 2
        assert outs[0].std() > 1
        assert not np.array_equal(*outs)
        check_that_blends_are_refused(service)
    finally:
        service.stop()


def check_that_blends_are_refused(service: RunningService) -> None:
    """By the one engine that has none, in each interface's own form."""
    blend = {"soprano": 0.5, "bass": 0.5}
    with service.connect() as ws:
        ws.send(json.dumps({"type": "config", "voice": blend}))
        told = json.loads(ws.recv(timeout=120))
        assert told["error_code"] == "INVALID_CONFIG"
        assert told["message"] == "voice: Seed-VC voices cannot be blended"
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4400
    with service.connect() as ws:
        for message in ({"type": "config", "voice": "bass"}, {"type": "update", "voice": blend}):
            ws.send(json.dumps(message))
        ws.send(json.dumps({"type": "end"}))
        ready, warning, complete = (json.loads(ws.recv(timeout=120)) for _ in range(3))
    assert (ready["type"], complete["type"]) == ("ready", "complete")
    assert warning["code"] == "INVALID_UPDATE"
    assert "cannot be blended" in warning["message"]
    with (
        SyncServiceClient(f"http://127.0.0.1:{service.port}") as http,
        pytest.raises(VoiceServiceError) as refused,
    ):
        http.submit_job(ROOT / "wavs/references/bass.wav", voice=blend)
    assert (refused.value.code, refused.value.details["http_status"]) == ("INVALID_REQUEST", 400)


def test_damaged_networks_stop_the_warm_up_in_one_line(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for file in MODELS["seedvc-tiny"].files.values():
        path = models / file.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no checkpoint")
    service = launch(tmp_path, "--engine", "seedvc-tiny", models_dir=models)
    assert service.process.wait(120) == 1
    assert "the engine cannot be made ready" in service.output()
    assert "is no readable checkpoint" in service.output()
    assert "Traceback" not in service.output()
