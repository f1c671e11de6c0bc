"""Where every measurement of the sessions goes: the metrics and the performance report."""

from __future__ import annotations

from dataclasses import dataclass

from fast_vc_service.server.metrics import Metrics
from fast_vc_service.sessions.observer import BlockTimes
from fast_vc_service.sessions.report import PerformanceReport


@dataclass(frozen=True)
class Measurements:
    """Implements :class:`~fast_vc_service.sessions.observer.Observer`."""

    metrics: Metrics
    report: PerformanceReport

    def session_opened(self) -> None:
        """See :class:`Observer`."""
        self.metrics.session_opened()

    def session_closed(self, code: str) -> None:
        """See :class:`Observer`."""
        self.metrics.session_closed(code)

    def refused(self, code: str) -> None:
        """See :class:`Observer`."""
        self.metrics.refused(code)

    def error(self, code: str) -> None:
        """Count an error that ended a session."""
        self.metrics.error(code)

    def block(self, times: BlockTimes) -> None:
        """See :class:`Observer`."""
        self.metrics.block(times)
        self.report.block(times)

    def step(self, seconds: float, batch: int) -> None:
        """See :class:`Observer`."""
        self.metrics.step(seconds, batch)

    def late(self, blocks: int) -> None:
        """See :class:`Observer`."""
        self.metrics.late(blocks)
