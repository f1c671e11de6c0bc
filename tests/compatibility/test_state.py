"""What an earlier service has left on the disk is read by the present one."""

from __future__ import annotations

from pathlib import Path

from tests.compatibility import state_reading
from tests.compatibility.comparison import differences
from tests.compatibility.recordings import load


def test_all_of_it_is_read(tmp_path: Path) -> None:
    found = differences(load("state"), state_reading.read(tmp_path / "home"))
    assert not found, "\n".join(found)
