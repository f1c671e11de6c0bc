"""``fast-vc`` on a machine that is not well: its disk fails and its clock is set while it runs.

What ``benchmarks.soak --chaos`` starts. The disk is that of the tests (``full_disk_fast_vc.py``,
see there). The file that ``CLOCK_FILE`` names holds by how many seconds the wall clock is off.
"""

from __future__ import annotations

import os
import runpy
import time
from pathlib import Path

from benchmarks.results import ROOT

PLUG = ROOT / "tests" / "e2e" / "full_disk_fast_vc.py"

_right = time.time
_file = Path(os.environ["CLOCK_FILE"])


def off_s() -> float:
    """Seconds by which the clock is wrong at present."""
    try:
        return float(_file.read_text(encoding="ascii") or 0)
    except FileNotFoundError:
        return 0.0


if __name__ == "__main__":
    time.time = lambda: _right() + off_s()
    runpy.run_path(str(PLUG), run_name="__main__")
