"""What phones and browsers record, sent over HTTP: read through PyAV in the process for files."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pytest
import soundfile
from service import RunningService

from media_recordings import CODECS, RATE, likeness, recorded


@pytest.mark.media
@pytest.mark.parametrize("kind", CODECS)
def test_a_recording_is_converted_over_http(
    passthrough: RunningService, tmp_path: Path, kind: str
) -> None:
    source = recorded(tmp_path / f"memo.{kind}")
    answer = httpx.post(
        f"http://127.0.0.1:{passthrough.port}/convert",
        files={"file": (source.name, source.read_bytes())},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    said, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    assert rate == RATE
    assert likeness(said[RATE // 2 : 3 * RATE // 2]) > 0.99


@pytest.mark.media
def test_a_recording_that_is_none_is_refused_and_the_next_is_taken(
    passthrough: RunningService, tmp_path: Path
) -> None:
    address = f"http://127.0.0.1:{passthrough.port}/convert"
    damaged = b"\x00\x00\x00\x18ftypM4A " + bytes(4096)
    answer = httpx.post(address, files={"file": ("memo.m4a", damaged)}, timeout=120)
    assert answer.status_code == 415
    assert answer.json()["error_code"] == "UNSUPPORTED_AUDIO"
    source = recorded(tmp_path / "memo.m4a")
    answer = httpx.post(address, files={"file": (source.name, source.read_bytes())}, timeout=120)
    assert answer.status_code == 200, answer.text
