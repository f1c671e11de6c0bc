from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import tables
from benchmarks.beside import compared
from benchmarks.results import save


def levels(*p99: float, silenced_ms: float = 0.0) -> list[dict[str, Any]]:
    return [
        {"latency_ms": {"p50": 5.0, "p95": 10.0, "p99": each}, "silenced_ms": silenced_ms}
        for each in p99
    ]


@pytest.mark.parametrize(
    ("beside", "good"),
    [
        (levels(22, 24, 90), True),
        (levels(22, 25, 90), False),
        (levels(20, 20, 20, silenced_ms=80.0), False),
    ],
)
def test_the_median_counts_and_nothing_may_be_silenced(
    tmp_path: Path, beside: list[dict[str, Any]], good: bool
) -> None:
    alone = levels(19, 20, 40)
    found = compared(alone, beside)
    assert found["good"] is good
    parts = {"alone": alone, "beside": beside}
    path = save("beside-nano", tmp_path, sessions=8, levels=parts, **found)
    assert f"p99 is {found['ratio']:.2f} times alone" in tables.of_result(path)
