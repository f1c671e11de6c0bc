from __future__ import annotations

import pytest

from fast_vc_service.commands.status import exit_status


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([], 3),
        (["ready"], 0),
        (["ready", "ready"], 0),
        (["ready", "starting"], 4),
        (["draining"], 4),
        (["unresponsive"], 4),
        (["failed"], 5),
        (["starting", "failed", "ready"], 5),
    ],
)
def test_the_exit_status_tells_the_worst(states: list[str], status: int) -> None:
    assert exit_status([{"state": state} for state in states]) == status
