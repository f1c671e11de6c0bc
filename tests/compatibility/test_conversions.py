"""``fast-vc convert`` makes of five clips what it made when they were recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compatibility.conversion import ENGINES, convert_clips
from tests.compatibility.judgement import Judge
from tests.compatibility.recordings import load


@pytest.mark.parametrize("engine", ENGINES)
def test_five_clips(engine: str, tmp_path: Path, say: Callable[[str], None]) -> None:
    recording = load("conversions")
    judge = Judge(recording["machine"])
    present = convert_clips(engine, tmp_path)
    recorded = recording["engines"][engine]
    assert present.keys() == recorded.keys()
    found = [
        line
        for clip, description in recorded.items()
        for line in judge.differences(description, present[clip], clip)
    ]
    say(judge.summary(f"conversions by {engine}"))
    assert not found, "\n".join(found)
