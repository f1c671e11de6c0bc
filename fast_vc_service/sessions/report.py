"""Where the time of a block goes: one bounded histogram a stage."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from typing import get_args

import numpy as np

from fast_vc_service.sessions.observer import BlockTimes, Stage

STAGES: tuple[Stage, ...] = get_args(Stage)

_GROWTH = 1.02
_FLOOR = 1e-7
_BINS = 1 + math.ceil(math.log(1e4 / _FLOOR) / math.log(_GROWTH))
_PENDING = 256
_PENDING_BLOCKS = 1024
_LOG_FLOOR = math.log(_FLOOR)
_LOG_GROWTH = math.log(_GROWTH)


class Histogram:
    """Non-negative values of any unit in log-spaced bins: 10 kB, however many there are.

    The bins are 2 % wide and reach from 1e-7 to 1e4 (of seconds: 0.1 us to nearly 3 hours).
    Count, mean, standard deviation, smallest and largest are exact. A quantile is the geometric
    middle of the bin it falls in, so it is within 1 % of the value at its rank (values beyond the
    range count in the outermost bins).
    """

    __slots__ = ("_bins", "_count", "_max", "_mean", "_min", "_pending", "_squares")

    def __init__(self) -> None:
        self._bins = np.zeros(_BINS, np.int64)
        self._pending: list[float] = []
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0
        self._min = math.inf
        self._max = 0.0

    @property
    def count(self) -> int:
        """How many values were added."""
        return self._count + len(self._pending)

    def add(self, value: float) -> None:
        """Count one value; a negative one (a stepped clock) counts as 0."""
        self._pending.append(value)
        if len(self._pending) >= _PENDING:
            self._fold()

    def extend(self, values: Iterable[float]) -> None:
        """Count each of ``values`` as :meth:`add` does."""
        self._pending.extend(values)
        if len(self._pending) >= _PENDING:
            self._fold()

    def _fold(self) -> None:
        """Sort the pending values into the bins: many at once cost a tenth of one by one."""
        if not self._pending:
            return
        values = np.maximum(np.asarray(self._pending, np.float64), 0.0)
        self._pending.clear()
        logs = np.log(np.maximum(values, _FLOOR))
        places = ((logs - _LOG_FLOOR) / _LOG_GROWTH).astype(np.int64)
        np.add.at(self._bins, np.minimum(places, _BINS - 1), 1)
        self._min = min(self._min, float(values.min()))
        self._max = max(self._max, float(values.max()))
        # Chan's recurrence: no cancellation between large sums.
        count, mean = len(values), float(values.mean())
        total = self._count + count
        offset = mean - self._mean
        self._squares += float(((values - mean) ** 2).sum())
        self._squares += offset**2 * self._count * count / total
        self._mean += offset * count / total
        self._count = total

    def quantiles(self, *fractions: float) -> list[float]:
        """Return the values at ``fractions`` of the sorted values (nearest rank).

        Raises:
            ValueError: Nothing was counted.
        """
        self._fold()
        if not self._count:
            raise ValueError("no values counted yet: quantiles need at least one")
        ranks = [max(math.ceil(fraction * self._count), 1) for fraction in fractions]
        places = np.searchsorted(np.cumsum(self._bins), ranks, side="left")
        middles = _FLOOR * _GROWTH ** (places + 0.5)
        return [float(value) for value in np.clip(middles, self._min, self._max)]

    def summary(self, scale: float = 1.0) -> dict[str, float | None]:
        """Return the figures of :func:`fast_vc_service.client.summary.describe`, times ``scale``.

        Without values every figure is None.
        """
        self._fold()
        if not self._count:
            return dict.fromkeys(("mean", "median", "min", "max", "std", "p95", "p99"))
        median, p95, p99 = self.quantiles(0.5, 0.95, 0.99)
        return {
            "mean": scale * self._mean,
            "median": scale * median,
            "min": scale * self._min,
            "max": scale * self._max,
            "std": scale * math.sqrt(self._squares / self._count),
            "p95": scale * p95,
            "p99": scale * p99,
        }


class PerformanceReport:
    """Durations of every stage since the start, thread-safe, in bounded memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[BlockTimes] = []
        self._histograms = {stage: Histogram() for stage in STAGES}

    def block(self, times: BlockTimes) -> None:
        """Count what one block spent in each stage; cheap, from any thread."""
        with self._lock:
            self._pending.append(times)
            if len(self._pending) >= _PENDING_BLOCKS:
                self._fold()

    def as_dict(self) -> dict[Stage, dict[str, float | int | None]]:
        """Return ``mean, median, min, max, std, p95, p99`` in ms and ``count`` of every stage.

        A stage nobody measured yet has ``count`` 0 and None elsewhere. See :class:`Histogram`
        for the error of the percentiles.
        """
        with self._lock:
            self._fold()
            return {
                stage: {**histogram.summary(scale=1e3), "count": histogram.count}
                for stage, histogram in self._histograms.items()
            }

    def _fold(self) -> None:
        for stage, histogram in self._histograms.items():
            histogram.extend([times[stage] for times in self._pending if stage in times])
        self._pending.clear()
