"""``fast-vc convert`` of what a phone records: with PyAV it is converted, without it refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from fast_vc_service.audio.files import count_audio
from media_recordings import CODECS, RATE, likeness, recorded

ROOT = Path(__file__).parents[2]
WITHOUT_PYAV = "import sys; sys.modules['av'] = None; from fast_vc_service.cli import main; main()"


def convert(home: Path, source: Path, *python: str) -> subprocess.CompletedProcess[str]:
    """Run the command with the passthrough engine in ``home``; output goes to its ``out``."""
    environment = {
        **os.environ,
        "FAST_VC_HOME": str(home),
        "FAST_VC_VOICES_DIR": str(ROOT / "wavs" / "references"),
        "FAST_VC_ENGINE": "passthrough",
    }
    return subprocess.run(
        [sys.executable, *python, "convert", str(source), "--output-dir", str(home / "out")],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=120,
        check=False,
    )


@pytest.mark.media
@pytest.mark.parametrize("kind", CODECS)
def test_a_recording_of_a_phone_or_browser_is_converted(tmp_path: Path, kind: str) -> None:
    source = recorded(tmp_path / f"memo.{kind}", channels=2)
    done = convert(tmp_path, source, "-m", "fast_vc_service")
    assert done.returncode == 0, done.stderr
    said, rate = soundfile.read(tmp_path / "out" / "memo.wav", dtype="float32")
    assert rate == RATE
    assert len(said) == count_audio(source).frames
    assert likeness(said[RATE // 2 : 3 * RATE // 2]) > 0.99


def test_without_pyav_it_is_refused_in_one_sentence(tmp_path: Path) -> None:
    source = tmp_path / "memo.m4a"
    source.write_bytes(b"\x00\x00\x00\x18ftypM4A " + bytes(32))
    refused = convert(tmp_path, source, "-c", WITHOUT_PYAV)
    assert refused.returncode == 1
    line = refused.stderr.strip()
    assert "needs PyAV: pip install 'fast-vc-service[media]'" in line
    assert line.endswith("ffmpeg -i memo.m4a memo.wav")
    assert "\n" not in line
