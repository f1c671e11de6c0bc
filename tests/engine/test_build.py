from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

VOICES = Path(__file__).parents[2] / "wavs" / "references"

PROGRAM = """
import sys
from pathlib import Path
from fast_vc_service.engine.build import build_engine
from fast_vc_service.engine.families import family_of
from fast_vc_service.voices.catalogue import build_catalogue

engine, voices, home = sys.argv[1:]
built = build_engine(
    engine, device="cpu", latency_ms=None, on_step=lambda _seconds, _batch: None
)
catalogue = build_catalogue(
    built.converter,
    voices_dir=Path(voices),
    default_voice="alto",
    cache_dir=Path(home) / "cache",
    data_dir=Path(home) / "data",
    checks_clips=family_of(engine).on_torch,
)
built.warm_up(catalogue.get("alto"))
built.stop()
print(catalogue.get("alto").family, "torch" in sys.modules)
"""


@pytest.mark.parametrize("engine", ["world", "passthrough"])
def test_an_engine_without_networks_comes_to_its_voices_without_torch(
    engine: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PROGRAM, engine, str(VOICES), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [engine, "False"]
