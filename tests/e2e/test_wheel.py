"""The service as an installed package, without a checkout around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from service import ROOT, RunningService, free_port
from test_websocket import rest

pytestmark = pytest.mark.slow

VOICES = {path.stem for path in (ROOT / "wavs" / "references").glob("*.wav")}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``fast-vc`` in an environment that holds the wheel and what the wheel asks for."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([ROOT / "scripts/setup.sh", "wheel", wheel, folder / "venv"], check=True)
    return folder / "venv/bin/fast-vc"


@pytest.fixture(scope="module")
def service(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """It serves with its defaults, from an empty folder."""
    home = tmp_path_factory.mktemp("empty")
    ours = {name for name in os.environ if name.startswith(("FAST_VC_", "PYTHON"))}
    inherited = {name: os.environ[name] for name in os.environ.keys() - ours - {"env_profile"}}
    port = free_port()
    with (home / "stderr.txt").open("wb") as output:
        process = subprocess.Popen(
            [program, "serve", "--port", str(port)],
            cwd=home,
            env=inherited,
            stdout=output,
            stderr=output,
        )
    running = RunningService(process, port, home)
    try:
        running.wait_until("ready")
        yield running
    finally:
        status = running.stop()
    assert status == 0


def test_the_voices_of_the_package_are_found(service: RunningService) -> None:
    with service.connect() as ws:
        ws.send('{"type": "config", "voice": "nobody"}')
        refusal = json.loads(ws.recv())
    assert set(refusal["details"]["available"]) == VOICES


def test_the_weights_of_the_package_convert(service: RunningService) -> None:
    with service.connect() as ws:
        ws.send('{"type": "config", "realtime": false}')
        ready = json.loads(ws.recv())
        assert (ready["voice"], ready["engine"]) == ("ref-24k", "nano")
        ws.send(bytes(2 * 16_000))
        ws.send('{"type": "end"}')
        payloads, texts, code = rest(ws)
    assert sum(map(len, payloads)) == 2 * 16_000
    assert (texts[-1]["type"], code) == ("complete", 1000)


def test_the_page_of_the_package_is_served(service: RunningService) -> None:
    status, page = service.get("/")
    assert status == 200
    assert "<html" in page
    assert service.get("/demo/client/client.js")[0] == 200


def test_only_the_installed_package_was_used(program: Path) -> None:
    found = subprocess.run(
        [program.with_name("python"), "-c", "import fast_vc_service as f; print(f.__file__)"],
        cwd=program.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(program.parents[1])
