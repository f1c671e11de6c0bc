"""What ``fast-vc convert`` makes of five clips of the project, one at each common rate."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fast_vc_service.audio.files import read_audio
from tests.compatibility.fingerprint import fingerprint
from tests.compatibility.same_results import ENVIRONMENT
from tests.e2e.service import ROOT, environment

ENGINES = ("nano", "world")
CLIPS = (
    "telephone-male-8k",
    "british-male-16k",
    "whispery-female-22k",
    "high-pitched-female-24k",
    "male-fast-48k",
)


def convert_clips(engine: str, home: Path, **variables: str) -> dict[str, Any]:
    """Convert the clips with the default voice; return hash and fingerprint of each by name.

    Args:
        engine: Name of the engine.
        home: Empty folder for whatever is written.
        variables: Environment that differs from the usual one.
    """
    output = home / "converted"
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "fast_vc_service", "convert", "--engine", engine, "-j", "2"),
            *("--output-dir", str(output), "--json"),
            *(str(ROOT / "wavs" / "sources" / f"{clip}.wav") for clip in CLIPS),
        ],
        cwd=home,
        env=environment(home, models_dir=home / "checkpoints") | ENVIRONMENT | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if finished.returncode != 0:
        raise AssertionError(f"exit {finished.returncode}:\n{finished.stderr[-4000:]}")
    told = json.loads(finished.stdout)
    assert (told["converted"], told["failed"]) == (len(CLIPS), 0)
    return {clip: _describe(output / f"{clip}.wav") for clip in CLIPS}


def _describe(path: Path) -> dict[str, Any]:
    audio, sample_rate = read_audio(path)
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "samples": len(audio),
        "sample_rate": sample_rate,
        "fingerprint": fingerprint(audio, sample_rate),
    }
