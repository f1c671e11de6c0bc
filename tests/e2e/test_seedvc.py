"""Seed-VC from WebSocket to WebSocket, in a real service process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from service import ROOT, launch

from fast_vc_service.models.presets import MODELS


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
        with service.connect() as one, service.connect() as two:
            for ws, voice in ((one, "soprano"), (two, "bass")):
                ws.send(json.dumps(config | {"voice": voice}))
                ready = json.loads(ws.recv(timeout=120))
                assert ready["engine"] == "seedvc-tiny", ready
                assert ready["block_ms"] >= 300
                ws.send(audio)
                ws.send(json.dumps({"type": "end"}))
            outs = []
            for ws in (one, two):
                payload = b""
                while isinstance(message := ws.recv(timeout=240), bytes):
                    payload += message
                assert json.loads(message)["type"] == "complete", message
                outs.append(np.frombuffer(payload, "<i2"))
        assert [len(out) for out in outs] == [round(12_000 * 22_050 / 16_000)] * 2
        assert outs[0].std() > 1
        assert not np.array_equal(*outs)
    finally:
        service.stop()


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
