"""A slider over a blend of voices prepares them in no model thread and on no event loop."""

from __future__ import annotations

import json
from pathlib import Path

from service import ROOT, launch

STOPS = 20


def test_every_voice_that_a_session_changes_to_is_prepared_outside_of_the_step(
    tmp_path: Path,
) -> None:
    service = launch(
        tmp_path,
        "--engine",
        "passthrough",
        program=[str(ROOT / "tests" / "e2e" / "noting_passthrough.py")],
        max_sessions=2,
    )
    try:
        service.wait_until("ready")
        with service.connect() as ws:
            ws.send(json.dumps({"type": "config", "sample_rate": 16_000, "realtime": False}))
            for stop in range(1, STOPS + 1):
                blend = {"alto": stop, "bass": STOPS + 1 - stop}
                ws.send(json.dumps({"type": "update", "voice": blend}))
                ws.send(bytes(2 * 640))
            ws.send(json.dumps({"type": "end"}))
            texts = [message for message in ws if isinstance(message, str)]
            assert ws.close_code == 1000
    finally:
        service.stop()
    noted = [line.split()[1:] for line in service.output().splitlines() if "NOTED" in line]
    updated = sum(json.loads(text)["type"] == "updated" for text in texts)
    threads = {what: [at for said, at in noted if said == what] for what, _ in noted}
    assert set(threads) == {"prepare", "update"}
    assert len(threads["prepare"]) == len(threads["update"]) == updated == STOPS
    assert all(name.startswith("model-") for name in threads["update"])
    assert not [name for name in threads["prepare"] if name.startswith(("model-", "MainThread"))]
