"""Where the time of a block goes: one bounded histogram a stage."""

from __future__ import annotations

import math
import threading
from typing import get_args

import numpy as np

from fast_vc_service.sessions.observer import Stage

STAGES: tuple[Stage, ...] = get_args(Stage)

_GROWTH = 1.02
_FLOOR = 1e-7
_BINS = 1 + math.ceil(math.log(1e4 / _FLOOR) / math.log(_GROWTH))
_LOG_FLOOR = math.log(_FLOOR)
_LOG_GROWTH = math.log(_GROWTH)


class Histogram:
    """Non-negative values of any unit in log-spaced bins: 10 kB, however many there are.

    The bins are 2 % wide and reach from 1e-7 to 1e4 (of seconds: 0.1 us to nearly 3 hours).
    Count, mean, standard deviation, smallest and largest are exact. A quantile is the geometric
    middle of the bin it falls in, so it is within 1 % of the value at its rank (values beyond the
    range count in the outermost bins).
    """

    __slots__ = ("_bins", "_max", "_mean", "_min", "_squares", "count")

    def __init__(self) -> None:
        self._bins = np.zeros(_BINS, np.int64)
        self._mean = 0.0
        self._squares = 0.0
        self._min = math.inf
        self._max = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        """Count one value; a negative one (a stepped clock) counts as 0."""
        value = max(value, 0.0)
        place = 0
        if value > _FLOOR:
            place = min(int((math.log(value) - _LOG_FLOOR) / _LOG_GROWTH), _BINS - 1)
        self._bins[place] += 1
        self._min = min(self._min, value)
        self._max = max(self._max, value)
        self.count += 1
        # Welford's recurrence: no cancellation between large sums.
        offset = value - self._mean
        self._mean += offset / self.count
        self._squares += offset * (value - self._mean)

    def quantiles(self, *fractions: float) -> list[float]:
        """Return the values at ``fractions`` of the sorted values (nearest rank).

        Raises:
            ValueError: Nothing was counted.
        """
        if not self.count:
            raise ValueError("no values counted yet: quantiles need at least one")
        ranks = [max(math.ceil(fraction * self.count), 1) for fraction in fractions]
        places = np.searchsorted(np.cumsum(self._bins), ranks, side="left")
        middles = _FLOOR * _GROWTH ** (places + 0.5)
        return [float(value) for value in np.clip(middles, self._min, self._max)]

    def summary(self, scale: float = 1.0) -> dict[str, float | None]:
        """Return the figures of :func:`fast_vc_service.summary.describe`, times ``scale``.

        Without values every figure is None.
        """
        if not self.count:
            return dict.fromkeys(("mean", "median", "min", "max", "std", "p95", "p99"))
        median, p95, p99 = self.quantiles(0.5, 0.95, 0.99)
        return {
            "mean": scale * self._mean,
            "median": scale * median,
            "min": scale * self._min,
            "max": scale * self._max,
            "std": scale * math.sqrt(self._squares / self.count),
            "p95": scale * p95,
            "p99": scale * p99,
        }


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
        """Return ``mean, median, min, max, std, p95, p99`` in ms and ``count`` of every stage.

        A stage nobody measured yet has ``count`` 0 and None elsewhere. See :class:`Histogram`
        for the error of the percentiles.
        """
        with self._lock:
            return {
                stage: {**histogram.summary(scale=1e3), "count": histogram.count}
                for stage, histogram in self._histograms.items()
            }
