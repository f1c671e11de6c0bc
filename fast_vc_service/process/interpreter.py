"""Settings of Python and PyTorch that hold for the whole process: set once, at start, and here.

A setting of a library that changes later changes for every session: PyTorch, for one, takes the
number of threads of each new thread from the last that was set anywhere.
"""

from __future__ import annotations

import gc
import os
import sys

SWITCH_INTERVAL_S = 5e-4
"""How long one thread may keep the interpreter from another. Python's own 5 ms would be added to
a block twice: when a model thread starts on it and when the event loop takes it back."""

GARBAGE_THRESHOLD = 10_000
"""New objects, less those that are gone, after which the collector looks for cycles among them."""


def tune_for_live_audio() -> None:
    """Let threads take turns quickly, and the garbage collector look less often."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 20)


def limit_torch_threads(threads: int) -> None:
    """Set how many threads PyTorch computes one operation with; 0 leaves it its own choice.

    PyTorch is not loaded for this: not every engine needs it.
    """
    if not threads:
        return
    torch = sys.modules.get("torch")
    if torch is None:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    else:
        torch.set_num_threads(threads)


def freeze_garbage() -> None:
    """Keep the garbage collector off all that exists now; to be called once the service is warm.

    A collection of everything stops all sessions for 70 ms, and 200 of them used to cause one every
    five seconds.
    """
    gc.collect()
    gc.freeze()
