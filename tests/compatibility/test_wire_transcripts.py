"""The wire is as it was recorded: what was said then is answered so now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility import wire_transcripts
from tests.compatibility.comparison import differences
from tests.compatibility.judgement import Judge
from tests.compatibility.recordings import load
from tests.e2e.service import RunningService

Say = Callable[[str], None]


def compare(service: str, present: dict[str, Any], say: Say) -> None:
    recording = load("wire")
    judge = Judge(recording["machine"])
    recorded = recording["transcripts"][service]
    assert present.keys() == recorded.keys(), "record the wire anew"
    found = []
    for name, transcript in recorded.items():
        now = present[name]
        assert now["client"] == transcript["client"], f"{name}: record the wire anew"
        audio = transcript.pop("audio", None)
        found += differences(transcript, now, name)
        if audio is not None:
            found += judge.differences(audio, now["audio"], f"{name}/audio")
    say(judge.summary(f"audio of the wire ({service})"))
    assert not found, "\n".join(found)


def test_both_dialects_with_pcm_and_opus(open_service: RunningService, say: Say) -> None:
    compare("open", wire_transcripts.with_open_service(open_service), say)


def test_keys_limits_and_the_drain(strict_service: RunningService, say: Say) -> None:
    compare("strict", wire_transcripts.with_strict_service(strict_service), say)


@pytest.mark.slow
def test_the_default_engine(tmp_path: Path, say: Say) -> None:
    compare("nano", wire_transcripts.with_nano(tmp_path), say)
