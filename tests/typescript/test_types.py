"""The page, its worklets and the JavaScript client under TypeScript's strict rules."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PACKAGES = ("typescript@5.9.3", "@types/audioworklet@0.0.100")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiler and the types of worklets; the test is skipped where they cannot be had."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("no Node.js: install node and npm")
    folder = tmp_path_factory.mktemp("typescript")
    install = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(
        [*install, *PACKAGES], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        pytest.skip(f"npm cannot install TypeScript: {done.stderr[-300:]}")
    return folder / "node_modules"


@pytest.mark.slow
@pytest.mark.parametrize("project", ["page", "worklets"])
def test_there_is_nothing_to_complain_of(modules: Path, project: str) -> None:
    checked = subprocess.run(
        [
            modules / ".bin" / "tsc",
            *("--project", HERE / f"{project}.json", "--typeRoots", modules / "@types"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert checked.returncode == 0, checked.stdout
