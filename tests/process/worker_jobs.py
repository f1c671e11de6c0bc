"""What workers are given to do in tests."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from waiting import until


class OddError(ValueError):
    """One that cannot be pickled: it is made of two things."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def add(one: int, two: int) -> int:
    return one + two


def crash() -> None:
    os.abort()


def touch_nothing() -> None:
    ctypes.string_at(0)


def loop() -> None:
    while True:
        pass


def eat() -> int:
    kept = []
    while True:
        kept.append(bytearray(1 << 24))


def refuse() -> None:
    raise ValueError("that is no audio")


def refuse_oddly() -> None:
    raise OddError("odd", "ly")


def end(status: int) -> None:
    os._exit(status)


def wait_for(path: Path, begun: Path) -> None:
    """Wait until somebody makes ``path``; ``begun`` then holds the number of this process."""
    unfinished = begun.with_suffix(".part")
    unfinished.write_text(str(os.getpid()))
    unfinished.rename(begun)
    until(path.exists)


def circumstances() -> dict[str, object]:
    return {
        "niceness": os.nice(0),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "secrets": [name for name in os.environ if name.startswith("FAST_VC_")],
        "ctrl_c": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "group": os.getpgrp() == os.getpid(),
        "pid": os.getpid(),
    }
