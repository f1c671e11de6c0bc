"""``fast-vc`` whose engine ``passthrough`` notes on stderr in which thread a voice is prepared."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import numpy as np

from fast_vc_service import cli
from fast_vc_service.contract import Converter, State, Voice
from fast_vc_service.engine import families
from fast_vc_service.models.passthrough.converter import PassthroughConverter

PREPARED = "prepared"


def note(what: str) -> None:
    sys.stderr.write(f"NOTED {what} {threading.current_thread().name}\n")


class Noting(PassthroughConverter):
    """Knows a voice that it has prepared."""

    def prepare(self, voice: Voice) -> Voice:
        note("prepare")
        return replace(voice, features={PREPARED: np.ones(1, np.float32)})

    def update(self, state: State, voice: Voice, pitch_shift: float) -> None:
        note("update" if PREPARED in voice.features else "update-unprepared")
        super().update(state, voice, pitch_shift)


def noting(block_ms: int, _device: str) -> Converter:
    return Noting(block_ms=block_ms)


if __name__ == "__main__":
    family = families.FAMILIES["passthrough"]
    families.FAMILIES["passthrough"] = replace(family, build=noting)
    cli.main()
