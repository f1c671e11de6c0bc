from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dotenv import dotenv_values

from fast_vc_service.settings import load_settings

ROOT = Path(__file__).parents[2]


def test_the_configuration_page_says_what_the_settings_are() -> None:
    run = subprocess.run(
        [sys.executable, "scripts/configuration.py", "--check"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_the_example_environment_loads_with_every_line_taken_in(tmp_path: Path) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    taken_in = [line.removeprefix("# ") if "=" in line else line for line in lines]
    (tmp_path / ".env").write_text("\n".join(taken_in))
    assert len(dotenv_values(tmp_path / ".env")) > 5
    loaded = load_settings({}, home=tmp_path)
    assert loaded.settings.api_keys[0].max_sessions == 4
    assert loaded.sources["latency_ms"].endswith("FAST_VC_LATENCY_MS")
