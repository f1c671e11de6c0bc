"""Means with confidence intervals, where values share sources and references.

Pairs of one source (or one target) are not independent: resampling pairs alone would give
intervals that are too narrow. Sources and targets are therefore drawn anew, each with
replacement, and a pair counts as often as its source times its target was drawn (the pigeonhole
bootstrap; Owen, "The pigeonhole bootstrap", 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; all NaN without values."""

    mean: float
    low: float
    high: float
    count: int


def draw_weights(
    sources: Sequence[str], targets: Sequence[str], seed: int = 0, draws: int = DRAWS
) -> NDArray[np.float64]:
    """How often each pair counts in each draw, ``[draws, pairs]``."""
    rng = np.random.default_rng(seed)
    weights = np.ones((draws, len(sources)))
    for labels in (sources, targets):
        names, index = np.unique(np.asarray(labels), return_inverse=True)
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
        weights *= counts[:, index]
    return weights


def ratio(
    numerators: Sequence[float], denominators: Sequence[float], weights: NDArray[np.float64]
) -> Estimate:
    """Sum over sum (a mean where all denominators are 1), NaN numerators left out.

    Args:
        numerators: ``[pairs]``.
        denominators: ``[pairs]``.
        weights: of :func:`draw_weights` for these pairs.
    """
    top, bottom = np.asarray(numerators, float), np.asarray(denominators, float)
    known = np.isfinite(top)
    if not known.any() or bottom[known].sum() == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    top, bottom, drawn = top[known], bottom[known], weights[:, known]
    sums = drawn @ bottom
    # A draw without any value says nothing.
    values = (drawn @ top)[sums > 0] / sums[sums > 0]
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(top.sum() / bottom.sum()), float(low), float(high), int(known.sum()))
