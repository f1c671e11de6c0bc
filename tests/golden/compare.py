"""What a golden check yields: one comparison of computed with recorded values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

RTOL = 1e-4


@dataclass(frozen=True)
class Comparison:
    """One computed array beside the recorded one.

    Attributes:
        name: Key of the recorded array.
        error: Largest absolute difference; infinite for another shape or anything not finite.
        tolerance: Absolute tolerance; ``rtol`` times the recorded value is allowed on top.
        passed: Whether every value is within both.
    """

    name: str
    error: float
    tolerance: float
    passed: bool


def close(
    name: str,
    got: Any,
    wanted: Any,
    atol: float,
    *,
    rtol: float = RTOL,
    median: float = np.inf,
) -> Comparison:
    """Compare within ``atol + rtol * |wanted|``; the median difference must be below ``median``."""
    values = got.detach().numpy() if isinstance(got, torch.Tensor) else np.asarray(got)
    expected = np.asarray(wanted)
    if values.shape != expected.shape or not np.isfinite(values).all():
        return Comparison(name, np.inf, atol, passed=False)
    difference = np.abs(values.astype(np.float64) - expected.astype(np.float64))
    within = bool((difference <= atol + rtol * np.abs(expected)).all())
    typical = float(np.median(difference)) <= median
    return Comparison(name, float(difference.max(initial=0.0)), atol, within and typical)


def exact(name: str, got: Any, wanted: Any) -> Comparison:
    """Compare whole numbers."""
    return close(name, got, wanted, 0.0, rtol=0.0)
