"""Where every measurement of the sessions goes: the metrics and the performance report."""

from __future__ import annotations

from dataclasses import dataclass, field

from loguru import logger

from fast_vc_service.server.metrics import Metrics
from fast_vc_service.server.refusal_log import RefusalLog
from fast_vc_service.sessions.observer import BlockTimes
from fast_vc_service.sessions.report import PerformanceReport

TOLD_STALL_S = 0.25
"""Stalls of the event loop that are logged; shorter ones are only counted."""


@dataclass(frozen=True)
class Measurements:
    """Implements :class:`~fast_vc_service.sessions.observer.Observer`."""

    metrics: Metrics
    report: PerformanceReport
    refusals: RefusalLog = field(default_factory=RefusalLog)

    def session_opened(self) -> None:
        """See :class:`Observer`."""
        self.metrics.session_opened()

    def session_closed(self, code: str) -> None:
        """See :class:`Observer`."""
        self.metrics.session_closed(code)

    def refused(self, code: str, message: str = "") -> None:
        """See :class:`Observer`; ``message`` is logged with the first of its kind."""
        self.metrics.refused(code)
        self.refusals.note(code, message)

    def stalled(self, seconds: float) -> None:
        """Tell of a stall of the event loop, which no client is to blame for."""
        self.metrics.stalled(seconds)
        if seconds >= TOLD_STALL_S:
            logger.warning("the event loop stood still for {:.0f} ms", seconds * 1e3)

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

    def task_restarted(self, task: str) -> None:
        """Count work that had failed and was started again."""
        self.metrics.task_restarted(task)

    def worker_failed(self, failure: str) -> None:
        """Count a worker process that brought no result."""
        self.metrics.worker_failed(failure)

    def late(self, blocks: int) -> None:
        """See :class:`Observer`."""
        self.metrics.late(blocks)
