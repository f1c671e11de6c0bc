"""``fast-vc`` with a plug for faults; its engine ``passthrough`` fails on what it is told.

What a constant block at one of the levels below does to the model thread that has it is said there.
``FAULTS`` in the environment names what else fails: each once, with an ``OSError``, but
``service-info``, which fails always once the port is bound, ``weights``, without which no warm-up
succeeds, and ``stop``, which never returns.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fast_vc_service import cli
from fast_vc_service.contract import Converter, FloatArray, State
from fast_vc_service.engine import families
from fast_vc_service.models.passthrough.converter import PassthroughConverter

RAISES, ENDS, HANGS, BREAKS = 0.9, 0.8, 0.7, 0.6
"""The step raises; the thread ends; it hangs until the file ``go-on`` is in the home; the thread
ends, and no step works after it."""


class Faulty(PassthroughConverter):
    """Does as it is told by its input."""

    broken = False

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        if Faulty.broken:
            raise RuntimeError("this converter is broken")
        levels = [row[0] if np.ptp(row) < 1e-3 else 0.0 for row in blocks]
        if _has(levels, RAISES):
            raise RuntimeError("this step fails on purpose")
        if _has(levels, BREAKS):
            Faulty.broken = True
        if _has(levels, ENDS) or _has(levels, BREAKS):
            sys.exit("this thread ends on purpose")
        if _has(levels, HANGS):
            go_on = Path(os.environ["FAST_VC_HOME"]) / "go-on"
            while not go_on.exists():
                threading.Event().wait(0.05)
            Path(go_on.parent / "went-on").touch()
        return super().step(blocks, states)


def _has(levels: Sequence[float], level: float) -> bool:
    return any(abs(each - level) < 1e-3 for each in levels)


def faulty(block_ms: int, _device: str) -> Converter:
    return Faulty(block_ms=block_ms)


def fail_once(owner: Any, name: str, *, always: bool = False) -> None:
    work: Callable[..., Any] = getattr(owner, name)
    left = [1]

    def fails(*arguments: Any, **named: Any) -> Any:
        if always or left:
            left.clear()
            raise OSError(f"{name} fails on purpose")
        return work(*arguments, **named)

    setattr(owner, name, fails)


def never(*_arguments: Any) -> None:
    threading.Event().wait()


def without_weights(*_arguments: Any) -> None:
    raise ValueError("the weights are broken on purpose")


def plug(faults: Sequence[str]) -> None:
    from fast_vc_service import app
    from fast_vc_service.engine.build import Engine
    from fast_vc_service.process.service_info import ServiceInfoFile
    from fast_vc_service.server.http.jobs.store import JobStore
    from fast_vc_service.server.service import Service
    from fast_vc_service.sessions.recorder import Recorder
    from fast_vc_service.voices.catalogue import VoiceCatalogue

    places: dict[str, tuple[Any, str]] = {
        "warm-up": (Engine, "warm_up"),
        "voices": (VoiceCatalogue, "sweep"),
        "pruning": (app, "prune"),
        "watch": (Engine, "check"),
        "jobs": (Service, "run_jobs"),
        "job-worker": (JobStore, "take"),
        "job-expiry": (JobStore, "expire"),
        "recorder": (Recorder, "write_out"),
        "drain": (Service, "drain"),
    }
    for fault in faults:
        if fault == "service-info":
            fail_once(ServiceInfoFile, "write", always=True)
        elif fault == "weights":
            Engine.warm_up = without_weights  # type: ignore[assignment]
        elif fault == "stop":
            Engine.stop = never
        else:
            fail_once(*places[fault])


if __name__ == "__main__":
    family = families.FAMILIES["passthrough"]
    families.FAMILIES["passthrough"] = replace(family, build=faulty, max_batch=1, threads=2)
    if faults := os.environ.get("FAULTS"):
        plug(faults.split(","))
    cli.main()
