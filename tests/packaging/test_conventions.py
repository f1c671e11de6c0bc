"""Conventions of the repository that no linter knows."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_only_one_helper_of_the_tests_sleeps() -> None:
    sleeps = re.compile(r"\bsleep" r"\(")
    found = {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*")
        if path.suffix in {".py", ".js", ".mjs", ".sh"} and sleeps.search(path.read_text())
    }
    assert found == {"waiting.py"}, "use until() or spend() of tests/waiting.py"
