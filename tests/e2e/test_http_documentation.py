"""The examples of the HTTP and Python pages, run against a real service."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from service import RunningService

from fast_vc_service.audio.files import audio_info, read_audio
from pages import ROOT, Page

HTTP = ROOT / "docs/api_docs/http-api.md"
CLIENT = ROOT / "docs/python-client.md"
EXAMPLES = {
    name: code
    for path in (HTTP, CLIENT)
    for name, (_, code) in Page(path, path.read_text()).examples.items()
}
SOURCE = ROOT / "wavs/sources/low-pitched-male-24k.wav"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that has the clips of the repository."""
    (tmp_path / "wavs").symlink_to(ROOT / "wavs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(service: RunningService, name: str, **names: Any) -> dict[str, Any]:
    code = EXAMPLES[name]
    # Functions of the library default to the documented port.
    import fast_vc_service.client.run as files
    from fast_vc_service.client import streams

    for function in (files.convert_file_over_ws, streams.convert_stream, streams.convert_chunks):
        function.__kwdefaults__["url"] = service.url  # type: ignore[attr-defined]
    code = code.replace("localhost:8042", f"127.0.0.1:{service.port}")
    exec(compile(code, name, "exec"), names)
    return names


def test_every_example_is_run() -> None:
    python = {"file", "chunks", "stream", "session", "push-to-talk", "service", "job", "token"}
    assert set(EXAMPLES) == {"add-voice", "convert", "mic"} | python
    for name in python:
        lines = [line for line in EXAMPLES[name].splitlines() if line.strip()]
        assert len(lines) <= 7, f"{name} is no short example any more"


def test_a_file(passthrough: RunningService, place: Path) -> None:
    run(passthrough, "file")
    converted = audio_info(place / "converted.wav")
    assert converted.duration_s == pytest.approx(audio_info(SOURCE).duration_s, abs=1e-3)


def test_chunks(passthrough: RunningService, place: Path, capsys: Any) -> None:
    run(passthrough, "chunks")
    heard = sum(int(line) for line in capsys.readouterr().out.split())
    assert heard == round(audio_info(ROOT / "wavs/references/bass.wav").frames * 16 / 24)


def test_a_stream(passthrough: RunningService) -> None:
    pieces: list[Any] = []
    speak = run(passthrough, "stream")["speak"]
    asyncio.run(speak([np.zeros(1_000, np.float32)] * 5, pieces.append))
    assert sum(map(len, pieces)) == 5_000


def test_a_session(passthrough: RunningService) -> None:
    names = run(passthrough, "session", samples=np.zeros(8_000, np.float32))
    assert sum(map(len, names["output"])) == 16_000


def test_push_to_talk(passthrough: RunningService) -> None:
    class HeardAllError(Exception):
        pass

    samples, heard = np.zeros(1_001, np.float32), []

    def play(converted: np.ndarray) -> None:
        heard.append(converted)
        if sum(map(len, heard)) >= len(samples):
            raise HeardAllError  # although the session has not ended

    with pytest.raises(HeardAllError):
        run(passthrough, "push-to-talk", samples=samples, play=play)


def test_voices_and_files(passthrough: RunningService, place: Path) -> None:
    run(passthrough, "service")
    assert audio_info(place / "anna.wav") == audio_info(ROOT / "wavs/references/bass.wav")


def test_a_job(passthrough: RunningService, place: Path, capsys: Any) -> None:
    run(passthrough, "job")
    assert capsys.readouterr().out.endswith("100%\n")
    assert audio_info(place / "job.wav") == audio_info(ROOT / "wavs/references/bass.wav")


def test_a_token(launch_service: Callable[..., RunningService]) -> None:
    key = "a key for the test"
    service = launch_service(max_sessions=1, api_keys=json.dumps([{"name": "me", "key": key}]))
    service.wait_until("ready")
    token = asyncio.run(run(service, "token")["token_for_a_browser"](key))
    assert service.get("/voices", Authorization=f"Bearer {token}")[0] == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands(
    launch_service: Callable[..., RunningService], place: Path, capsys: Any
) -> None:
    service = launch_service(max_sessions=2)
    service.wait_until("ready")

    def typed(name: str) -> str:
        words = shlex.split(EXAMPLES[name].replace(":8042", f":{service.port}"))
        done = subprocess.run(
            [*words, "-sS", "--fail-with-body"], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert '"name":"anna"' in typed("add-voice")
    assert service.get("/voices/anna")[1]["removable"] is True
    typed("convert")
    sent, rate = read_audio(SOURCE)
    heard, heard_rate = soundfile.read("converted.wav", dtype="float32")
    assert (len(heard), heard_rate) == (len(sent), rate)
    with service.connect() as ws:
        ws.send('{"type": "config", "voice": "anna"}')
        assert '"voice":"anna"' in str(ws.recv()).replace(" ", "")
    assert (service.home / "data/voices").is_dir()
