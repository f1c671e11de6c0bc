"""What the service tells Prometheus.

Durations that must be judged against the block (model steps, latencies) are in blocks, not in
seconds: 1 is the limit of real time for any engine and any setting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from fast_vc_service import __version__
from fast_vc_service.process.worker.work import Failure
from fast_vc_service.protocol.codes import EdgeCode, ErrorCode
from fast_vc_service.protocol.service_state import ServiceState
from fast_vc_service.server.sockets.codes import SocketCode
from fast_vc_service.sessions.observer import BlockTimes

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

OTHER = "other"
"""Label of codes and tasks this module does not know: the number of labels stays bounded."""

TASKS = (
    "model",
    "warm-up",
    "voices",
    "watch",
    "capacity",
    "watchdog",
    "pruning",
    "jobs",
    "job-worker",
    "job-expiry",
    "recorder",
    "drain",
)
"""What is started again when it fails; ``model`` is a model thread that was replaced."""

STEP_BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 2, 4)
LATENCY_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 8)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Watched(Protocol):
    """What is read of the service whenever the metrics are asked for."""

    @property
    def state(self) -> ServiceState:
        """``starting``, ``ready``, ``draining`` or ``failed``."""
        ...

    @property
    def engine_name(self) -> str:
        """Name of the engine."""
        ...

    @property
    def live_sessions(self) -> int:
        """Sessions that hold a slot."""
        ...

    @property
    def capacity(self) -> int:
        """Sessions that fit."""
        ...

    def device_memory(self) -> Mapping[str, tuple[int, int, int]]:
        """By CUDA device: bytes in use, bytes there are, bytes a session takes."""
        ...


class Metrics:
    """Implements :class:`~fast_vc_service.sessions.observer.Observer` in a registry of its own.

    Every observation is thread-safe and costs one to two microseconds. Durations are not counted
    before :meth:`watch` has told how long a block is.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._block_s = 0.0
        opened = Counter(
            "fast_vc_sessions_opened", "Sessions that took a slot.", registry=self._registry
        )
        self._opened = opened
        self._closed = self._counters(
            "fast_vc_sessions_closed",
            "Sessions that gave their slot back, by how they ended.",
            ("complete", "disconnect", *ErrorCode),
        )
        self._refused = self._counters(
            "fast_vc_refused",
            "Connections turned away before they took a slot, by code.",
            (*ErrorCode, *EdgeCode, *SocketCode),
        )
        self._errors = self._counters(
            "fast_vc_errors", "Errors that ended a session, by code.", ErrorCode
        )
        restarts = Counter(
            "fast_vc_task_restarts",
            "Background tasks and model threads that failed and were started again.",
            ["task"],
            registry=self._registry,
        )
        self._restarts = {task: restarts.labels(task) for task in (*TASKS, OTHER)}
        self._blocks = Counter(
            "fast_vc_blocks", "Blocks the model was given.", registry=self._registry
        )
        self._late = Counter(
            "fast_vc_late_blocks",
            "Blocks silenced by the late policy or a fault.",
            registry=self._registry,
        )
        self._worker_failures = self._counters(
            "fast_vc_worker_failures",
            "Worker processes that brought no result and were replaced, by reason.",
            Failure,
            "reason",
        )
        self._step = Histogram(
            "fast_vc_step_blocks",
            "Wall time of a model step, in blocks; above 1 is slower than real time.",
            buckets=STEP_BUCKETS,
            registry=self._registry,
        )
        self._latency = Histogram(
            "fast_vc_latency_blocks",
            "Receipt of a block's last byte to hand-over of its output, in blocks.",
            buckets=LATENCY_BUCKETS,
            registry=self._registry,
        )
        self._batch = Histogram(
            "fast_vc_step_sessions",
            "Sessions in one model step.",
            buckets=BATCH_BUCKETS,
            registry=self._registry,
        )
        self._stalls = Counter(
            "fast_vc_loop_stall_seconds",
            "Seconds, beyond 50 ms each, that the event loop stood still: a fault of ours.",
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)

    def watch(self, service: Watched, block_s: float) -> None:
        """Report ``service`` as well; ``block_s`` is the length of its blocks in seconds.

        Raises:
            ValueError: The block has no length, or a service is watched already.
        """
        if block_s <= 0:
            raise ValueError(f"block_s: expected a positive number of seconds, got {block_s}")
        if self._block_s:
            raise ValueError("expected one service to watch, got a second one")
        self._registry.register(_ServiceCollector(service, block_s))
        self._block_s = block_s

    def render(self) -> bytes:
        """Return all metrics in the text format of :data:`CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def session_opened(self) -> None:
        """See :class:`Observer`."""
        self._opened.inc()

    def session_closed(self, code: str) -> None:
        """See :class:`Observer`."""
        _labelled(self._closed, code).inc()

    def refused(self, code: str) -> None:
        """See :class:`Observer`."""
        _labelled(self._refused, code).inc()

    def error(self, code: str) -> None:
        """Count an error that ended a session."""
        _labelled(self._errors, code).inc()

    def block(self, times: BlockTimes) -> None:
        """See :class:`Observer`; only ``total`` is a metric, the report has the others."""
        if "total" in times and self._block_s:
            self._latency.observe(times["total"] / self._block_s)

    def step(self, seconds: float, batch: int) -> None:
        """See :class:`Observer`."""
        self._blocks.inc(batch)
        self._batch.observe(batch)
        if self._block_s:
            self._step.observe(seconds / self._block_s)

    def late(self, blocks: int) -> None:
        """See :class:`Observer`."""
        self._late.inc(blocks)

    def stalled(self, seconds: float) -> None:
        """Count a stall of the event loop."""
        self._stalls.inc(seconds)

    def task_restarted(self, task: str) -> None:
        """Count work that had failed and was started again."""
        _labelled(self._restarts, task).inc()

    def worker_failed(self, failure: str) -> None:
        """Count a worker process that brought no result."""
        _labelled(self._worker_failures, failure).inc()

    def _counters(
        self, name: str, documentation: str, codes: Iterable[str], label: str = "code"
    ) -> dict[str, Counter]:
        """Make a counter for each code at once: a rate needs the zero before the first event."""
        counter = Counter(name, documentation, [label], registry=self._registry)
        return {str(code): counter.labels(str(code)) for code in (*codes, OTHER)}


def _labelled(counters: dict[str, Counter], code: str) -> Counter:
    return counters.get(code) or counters[OTHER]


_MEMORY = (
    ("fast_vc_device_memory_used_bytes", "Memory of a CUDA device that is in use, by anybody."),
    ("fast_vc_device_memory_bytes", "Memory that a CUDA device has."),
    ("fast_vc_session_memory_bytes", "Memory of its device that a session takes."),
)


class _ServiceCollector(Collector):
    """Reads the service when the metrics are asked for."""

    def __init__(self, service: Watched, block_s: float) -> None:
        self._service = service
        self._block_s = block_s

    def collect(self) -> Iterator[Metric]:
        service = self._service
        yield InfoMetricFamily(
            "fast_vc",
            "What runs.",
            value={"version": __version__, "engine": service.engine_name},
        )
        state = GaugeMetricFamily("fast_vc_state", "1 for the present state.", labels=["state"])
        for name in get_args(ServiceState):
            state.add_metric([name], float(name == service.state))
        yield state
        yield GaugeMetricFamily(
            "fast_vc_sessions_live", "Sessions that hold a slot.", value=service.live_sessions
        )
        yield GaugeMetricFamily(
            "fast_vc_sessions_capacity", "Sessions that fit at present.", value=service.capacity
        )
        yield from self._memory()
        yield GaugeMetricFamily("fast_vc_block_seconds", "Length of a block.", value=self._block_s)

    def _memory(self) -> Iterator[Metric]:
        found = self._service.device_memory()
        for place, (name, documentation) in enumerate(_MEMORY):
            gauge = GaugeMetricFamily(name, documentation, labels=["device"])
            for device, numbers in found.items():
                gauge.add_metric([device], float(numbers[place]))
            if found:
                yield gauge
