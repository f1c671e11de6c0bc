"""All recorded conversations, service by service."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.compatibility.conversations import (
    NANO_VOICES,
    for_nano,
    for_open_service,
    for_strict_service,
)
from tests.compatibility.full_house import (
    drain,
    refusals_for_want_of_room,
    too_long_a_session,
)
from tests.compatibility.services import NANO, running
from tests.compatibility.wire import converse
from tests.e2e.service import ROOT, RunningService


def with_open_service(service: RunningService) -> dict[str, Any]:
    """Return the transcripts of a service without keys."""
    return {name: converse(service, script) for name, script in for_open_service().items()}


def with_strict_service(service: RunningService) -> dict[str, Any]:
    """Return the transcripts of a service with keys and short limits, which is stopped by it."""
    scripts = for_strict_service()
    return {
        **{name: converse(service, script) for name, script in scripts.items()},
        **refusals_for_want_of_room(service),
        **too_long_a_session(service),
        **drain(service),
    }


def with_nano(home: Path) -> dict[str, Any]:
    """Return the transcripts of the engine that converts by default."""
    voices = home / "voices"
    voices.mkdir(parents=True)
    for name in NANO_VOICES:
        shutil.copy(ROOT / "wavs" / "references" / f"{name}.wav", voices)
    with running(home, **NANO, voices_dir=voices, models_dir=home / "checkpoints") as service:
        return {name: converse(service, script) for name, script in for_nano().items()}
