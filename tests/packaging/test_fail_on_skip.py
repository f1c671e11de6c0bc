"""With --fail-on-skip a skipped test fails the run, and only then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SKIPS = {
    "call": "import pytest\ndef test_it(): pytest.skip('no tool')\n",
    "mark": "import pytest\n@pytest.mark.skipif(True, reason='no tool')\ndef test_it(): pass\n",
    "module": "import pytest\npytest.importorskip('no_tool')\ndef test_it(): pass\n",
}


@pytest.mark.parametrize("kind", SKIPS)
@pytest.mark.parametrize(("flags", "status"), [([], {0, 5}), (["--fail-on-skip"], {1, 2})])
def test_a_skip_fails_the_run_if_asked_to(
    tmp_path: Path, kind: str, flags: list[str], status: set[int]
) -> None:
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_skips.py").write_text(SKIPS[kind])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in status, done.stdout
    assert not flags or ("no tool" in done.stdout or "no_tool" in done.stdout)
