"""One definition of the figures that reports, statistics files and tools print."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def describe(values: Iterable[float]) -> dict[str, float | None]:
    """Summarise ``values`` (any unit; the result has the same unit).

    Percentiles interpolate linearly. Without values every figure is ``None``.
    """
    array = np.asarray(list(values), dtype=np.float64)
    if array.size == 0:
        return dict.fromkeys(("mean", "median", "min", "max", "std", "p95", "p99"))
    median, p95, p99 = np.percentile(array, (50, 95, 99))
    return {
        "mean": float(array.mean()),
        "median": float(median),
        "min": float(array.min()),
        "max": float(array.max()),
        "std": float(array.std()),
        "p95": float(p95),
        "p99": float(p99),
    }
