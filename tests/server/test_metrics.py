import threading
from dataclasses import dataclass, field

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fast_vc_service.protocol.codes import EdgeCode, ErrorCode
from fast_vc_service.protocol.service_state import ServiceState
from fast_vc_service.server.metrics import Metrics
from fast_vc_service.sessions.observer import Observer


@dataclass
class FakeService:
    state: ServiceState = "starting"
    engine_name: str = "passthrough"
    live_sessions: int = 0
    capacity: int = 0
    memory: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def device_memory(self) -> dict[str, tuple[int, int, int]]:
        return self.memory


def watched(block_s: float = 0.2) -> Metrics:
    metrics = Metrics()
    metrics.watch(FakeService(), block_s)
    return metrics


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(metrics.render().decode()):
        for found in family.samples:
            if found.name == name and found.labels == labels:
                return float(found.value)
    raise AssertionError(f"no {name} {labels} in\n{metrics.render().decode()}")


def test_the_memory_of_devices_is_told_where_they_have_one() -> None:
    metrics, service = Metrics(), FakeService()
    metrics.watch(service, 0.2)
    assert "session_memory" not in metrics.render().decode()
    service.memory = {"cuda:1": (6, 8, 2)}
    names = ("device_memory_used_bytes", "device_memory_bytes", "session_memory_bytes")
    found = [sample(metrics, f"fast_vc_{name}", device="cuda:1") for name in names]
    assert found == [6, 8, 2]


def test_metrics_are_an_observer() -> None:
    observer: Observer = Metrics()
    observer.session_opened()


def test_sessions_are_counted_by_how_they_ended() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.session_opened()
    metrics.session_closed("complete")
    metrics.session_closed("complete")
    metrics.session_closed(ErrorCode.SLOW_READER)
    assert sample(metrics, "fast_vc_sessions_opened_total") == 3
    assert sample(metrics, "fast_vc_sessions_closed_total", code="complete") == 2
    assert sample(metrics, "fast_vc_sessions_closed_total", code="SLOW_READER") == 1
    assert sample(metrics, "fast_vc_sessions_closed_total", code="disconnect") == 0


def test_refusals_and_errors_are_counted_by_code() -> None:
    metrics = Metrics()
    metrics.refused(ErrorCode.BUSY)
    metrics.refused(EdgeCode.FORBIDDEN_ORIGIN)
    metrics.error("INTERNAL_ERROR")
    assert sample(metrics, "fast_vc_refused_total", code="BUSY") == 1
    assert sample(metrics, "fast_vc_refused_total", code="FORBIDDEN_ORIGIN") == 1
    assert sample(metrics, "fast_vc_refused_total", code="AUTH_FAILED") == 0
    assert sample(metrics, "fast_vc_errors_total", code="INTERNAL_ERROR") == 1


def test_unknown_codes_share_one_label() -> None:
    metrics = Metrics()
    size = len(metrics.render())
    for number in range(100):
        metrics.refused(f"made-up-{number}")
    assert sample(metrics, "fast_vc_refused_total", code="other") == 100
    assert len(metrics.render()) < size + 100


def test_durations_are_in_blocks() -> None:
    metrics = watched(block_s=0.2)
    metrics.step(0.1, 4)
    metrics.step(0.3, 1)
    metrics.block({"decode": 9.0, "total": 0.4})
    metrics.block({"decode": 9.0})
    assert sample(metrics, "fast_vc_step_blocks_sum") == pytest.approx(2.0)
    assert sample(metrics, "fast_vc_step_blocks_bucket", le="0.5") == 1
    assert sample(metrics, "fast_vc_step_blocks_bucket", le="1.0") == 1
    assert sample(metrics, "fast_vc_step_blocks_bucket", le="+Inf") == 2
    assert sample(metrics, "fast_vc_latency_blocks_sum") == pytest.approx(2.0)
    assert sample(metrics, "fast_vc_latency_blocks_count") == 1
    assert sample(metrics, "fast_vc_step_sessions_sum") == 5
    assert sample(metrics, "fast_vc_blocks_total") == 5
    assert sample(metrics, "fast_vc_block_seconds") == 0.2


def test_durations_wait_for_the_length_of_a_block() -> None:
    metrics = Metrics()
    metrics.step(0.1, 2)
    metrics.block({"total": 0.4})
    assert sample(metrics, "fast_vc_step_blocks_count") == 0
    assert sample(metrics, "fast_vc_latency_blocks_count") == 0
    assert sample(metrics, "fast_vc_blocks_total") == 2


def test_late_blocks_are_counted() -> None:
    metrics = Metrics()
    metrics.late(3)
    assert sample(metrics, "fast_vc_late_blocks_total") == 3


def test_the_service_is_read_when_asked() -> None:
    service = FakeService()
    metrics = Metrics()
    metrics.watch(service, 0.02)
    assert sample(metrics, "fast_vc_state", state="starting") == 1
    service.state, service.live_sessions, service.capacity = "ready", 3, 24
    assert sample(metrics, "fast_vc_state", state="starting") == 0
    assert sample(metrics, "fast_vc_state", state="ready") == 1
    assert sample(metrics, "fast_vc_sessions_live") == 3
    assert sample(metrics, "fast_vc_sessions_capacity") == 24
    assert b'engine="passthrough"' in metrics.render()


def test_one_service_with_a_block_is_watched() -> None:
    with pytest.raises(ValueError, match="block_s"):
        Metrics().watch(FakeService(), 0.0)
    with pytest.raises(ValueError, match="second"):
        watched().watch(FakeService(), 0.2)


def test_two_services_in_one_process_do_not_meet() -> None:
    one, other = watched(), watched()
    one.session_opened()
    assert sample(other, "fast_vc_sessions_opened_total") == 0


def test_nothing_is_lost_between_threads() -> None:
    metrics = watched()

    def work() -> None:
        for _ in range(2000):
            metrics.step(0.1, 2)
            metrics.refused("BUSY")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sample(metrics, "fast_vc_step_blocks_count") == 8000
    assert sample(metrics, "fast_vc_blocks_total") == 16_000
    assert sample(metrics, "fast_vc_refused_total", code="BUSY") == 8000
