"""Where the time of a block goes: one bounded histogram a stage."""

from __future__ import annotations

import math
import threading
from typing import get_args

import numpy as np

from fast_vc_service.sessions.observer import Stage

STAGES: tuple[Stage, ...] = get_args(Stage)

_GROWTH = 1.02
_FLOOR_S = 1e-7
_BINS = 1 + math.ceil(math.log(1e4 / _FLOOR_S) / math.log(_GROWTH))
_LOG_FLOOR = math.log(_FLOOR_S)
_LOG_GROWTH = math.log(_GROWTH)


class Histogram:
    """Durations in log-spaced bins: 2 % wide, from 0.1 us to 10 000 s, 10 kB whatever the count.

    Count, mean, smallest and largest are exact. A quantile is the geometric middle of the bin it
    falls in, so it is within 1 % of the sample at its rank (longer or shorter durations than the
    range count in the outermost bins).
    """

    __slots__ = ("_bins", "count", "max_s", "min_s", "sum_s")

    def __init__(self) -> None:
        self._bins = np.zeros(_BINS, np.int64)
        self.count = 0
        self.sum_s = 0.0
        self.min_s = math.inf
        self.max_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; negative ones (a stepped clock) count as 0."""
        seconds = max(seconds, 0.0)
        place = 0
        if seconds > _FLOOR_S:
            place = min(int((math.log(seconds) - _LOG_FLOOR) / _LOG_GROWTH), _BINS - 1)
        self._bins[place] += 1
        self.count += 1
        self.sum_s += seconds
        self.min_s = min(self.min_s, seconds)
        self.max_s = max(self.max_s, seconds)

    def quantiles_s(self, fractions: tuple[float, ...]) -> list[float]:
        """Return the durations at ``fractions`` of the sorted samples (nearest rank).

        Raises:
            ValueError: Nothing was counted.
        """
        if not self.count:
            raise ValueError("no durations counted yet: quantiles need at least one")
        ranks = [max(math.ceil(fraction * self.count), 1) for fraction in fractions]
        places = np.searchsorted(np.cumsum(self._bins), ranks, side="left")
        middles = _FLOOR_S * _GROWTH ** (places + 0.5)
        return [float(value) for value in np.clip(middles, self.min_s, self.max_s)]


class PerformanceReport:
    """Durations of every stage since the start, thread-safe, in bounded memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._histograms = {stage: Histogram() for stage in STAGES}

    def stage(self, stage: Stage, seconds: float) -> None:
        """Count that one block spent ``seconds`` in ``stage``; cheap, from any thread."""
        histogram = self._histograms[stage]
        with self._lock:
            histogram.add(seconds)

    def as_dict(self) -> dict[Stage, dict[str, float | int | None]]:
        """Return ``mean, min, max, median, p95, p99`` in ms and ``count`` of every stage.

        A stage nobody measured yet has ``count`` 0 and None elsewhere. See :class:`Histogram`
        for the error of the percentiles.
        """
        with self._lock:
            return {stage: _figures(self._histograms[stage]) for stage in STAGES}


def _figures(histogram: Histogram) -> dict[str, float | int | None]:
    names = ("mean", "min", "max", "median", "p95", "p99")
    if not histogram.count:
        return {**dict.fromkeys(names), "count": 0}
    values_s = (
        histogram.sum_s / histogram.count,
        histogram.min_s,
        histogram.max_s,
        *histogram.quantiles_s((0.5, 0.95, 0.99)),
    )
    figures: dict[str, float | int | None] = {
        name: 1e3 * value for name, value in zip(names, values_s, strict=True)
    }
    figures["count"] = histogram.count
    return figures
