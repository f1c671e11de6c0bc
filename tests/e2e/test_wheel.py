"""The service as an installed package, without a checkout around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from service import ROOT, RunningService, free_port

VOICES = {path.stem for path in (ROOT / "wavs" / "references").glob("*.wav")}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the wheel's content."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    folder = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.slow
def test_an_installed_package_serves_from_an_empty_folder(site: Path, tmp_path: Path) -> None:
    home = tmp_path / "empty"
    home.mkdir()
    ours = {name for name in os.environ if name.startswith("FAST_VC_")} | {"env_profile"}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    port = free_port()
    with (home / "stderr.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fast_vc_service", "serve", "--port", str(port)],
            cwd=home,
            env=inherited | {"PYTHONPATH": str(site)},
            stdout=output,
            stderr=output,
        )
    service = RunningService(process, port, home)
    try:
        service.wait_until("ready")
        with service.connect() as ws:
            ws.send('{"type": "config", "voice": "nobody"}')
            refusal = json.loads(ws.recv())
        with service.connect() as ws:
            ws.send('{"type": "config"}')
            ready = json.loads(ws.recv())
    finally:
        status = service.stop()
    assert set(refusal["details"]["available"]) == VOICES
    assert ready["voice"] == "ref-24k"
    assert status == 0
