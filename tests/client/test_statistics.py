"""Hand-made timelines with answers known by arithmetic."""

from __future__ import annotations

import math

import pytest

from fast_vc_service.client.statistics import chunk_latencies, statistics
from fast_vc_service.client.timeline import Timeline

SERVER_STATS = {
    "real_time_factor": {"mean": 0.3, "p95": 0.5},
    "is_real_time": True,
}


def at(ms: float) -> float:
    return 1_000.0 + ms / 1e3


def timeline(
    sends: list[tuple[float, float]],
    recvs: list[tuple[float, float]],
    delays_ms: list[float] | None = None,
) -> Timeline:
    """Make one of (time in ms, cumulative ms) pairs; sends are late by ``delays_ms``."""
    made = Timeline()
    for (time_ms, cumulative), delay_ms in zip(sends, delays_ms or [0.0] * len(sends), strict=True):
        made.add_send(cumulative, due_s=at(time_ms), actual_s=at(time_ms + delay_ms))
    for time_ms, cumulative in recvs:
        made.add_recv(cumulative, at(time_ms))
    return made


EVERY_20_MS = [(20.0 * i, 20.0 * (i + 1)) for i in range(10)]


def test_latency_counts_from_the_first_send_that_reaches_the_position() -> None:
    made = timeline(EVERY_20_MS, [(100, 40), (130, 50), (300, 200)])
    chunks = chunk_latencies(made)
    # 40 ms are reached by the send at 20 ms, 50 ms by that at 40 ms, 200 ms by that at 180 ms.
    assert [chunk.latency_ms for chunk in chunks] == pytest.approx([80, 90, 120])
    assert [chunk.mouth_to_ear_ms for chunk in chunks] == pytest.approx([120, 100, 270])
    assert [chunk.received_s for chunk in chunks] == pytest.approx([at(100), at(130), at(300)])


def test_a_stalling_client_does_not_hide_latency() -> None:
    punctual = timeline(EVERY_20_MS, [(100, 40)])
    stalled = timeline(EVERY_20_MS, [(100, 40)], delays_ms=[60.0] * 10)
    assert chunk_latencies(stalled) == chunk_latencies(punctual)


def test_untrimmed_output_is_shifted_by_the_delay() -> None:
    made = timeline(EVERY_20_MS, [(50, 40), (100, 80), (150, 120)])
    chunks = chunk_latencies(made, delay_ms=60)
    # 40 ms are all silence; 80 - 60 = 20 is reached at 0 ms, 60 at 40 ms.
    assert [chunk.latency_ms for chunk in chunks] == pytest.approx([100, 110])
    assert [chunk.mouth_to_ear_ms for chunk in chunks] == pytest.approx([140, 150])


def test_rounding_behind_the_last_send_belongs_to_it() -> None:
    made = timeline([(0, 20), (20, 40)], [(90, 40.03)])
    assert chunk_latencies(made)[0].latency_ms == pytest.approx(70)


def test_position_equal_but_for_rounding_is_reached() -> None:
    made = timeline([(0, 0.1 + 0.2), (20, 20)], [(50, 0.3)])
    assert chunk_latencies(made)[0].latency_ms == pytest.approx(50)
    made = timeline([(0, 0.3), (20, 20)], [(50, 0.1 + 0.2)])
    assert chunk_latencies(made)[0].latency_ms == pytest.approx(50)


def test_statistics_of_a_session_in_real_time() -> None:
    made = timeline(
        EVERY_20_MS,
        [(90, 20), (120, 40), (150, 60), (400, 200)],
        delays_ms=[0, 1, 15, 12, 0, 0, 11, 0, 0, -0.5],
    )
    stats = statistics(made, chunk_ms=20, real_time=True, server_stats=SERVER_STATS)
    assert stats["first_token_latency_ms"] == pytest.approx(90)
    assert stats["end_to_end_latency_ms"] == pytest.approx(400 - 180)
    # latencies: 90 - 0, 120 - 20, 150 - 40, 400 - 180
    latency = stats["chunk_latency_stats"]
    assert latency["mean_ms"] == pytest.approx(130)
    assert latency["median_ms"] == pytest.approx(105)
    assert latency["min_ms"] == pytest.approx(90)
    assert latency["max_ms"] == pytest.approx(220)
    std = math.sqrt((40**2 + 30**2 + 20**2 + 90**2) / 4)
    assert latency["std_ms"] == pytest.approx(std)
    assert latency["p95_ms"] == pytest.approx(110 + 0.85 * 110)
    assert latency["p99_ms"] == pytest.approx(110 + 0.97 * 110)
    assert stats["jitter_ms"] == pytest.approx(std)
    assert stats["mouth_to_ear_stats"]["max_ms"] == pytest.approx(220 + 140)
    assert stats["real_time_factor"]["mean"] == 0.3
    assert stats["real_time_factor"]["p95"] == 0.5
    assert stats["is_real_time"] is True

    timing = stats["send_timing_analysis"]
    assert timing["total_chunks"] == 10
    assert timing["send_delay_stats"]["mean_ms"] == pytest.approx(3.85)
    assert timing["send_delay_stats"]["max_ms"] == pytest.approx(15)
    assert timing["delay_ratio_stats"]["max"] == pytest.approx(0.75)
    assert timing["timing_quality"] == {
        "chunks_with_positive_delay": 4,
        "chunks_with_significant_delay": 3,
        "max_consecutive_delays": 2,
        "is_sending_stable": False,
    }
    summary = stats["timeline_summary"]
    assert (summary["total_send_events"], summary["total_recv_events"]) == (10, 4)
    assert summary["send_duration_ms"] == pytest.approx(180)
    assert summary["recv_duration_ms"] == pytest.approx(310)
    assert summary["processing_start_to_end_ms"] == pytest.approx(400)


@pytest.mark.parametrize(("swing_ms", "stable"), [(4.9, True), (5.1, False)])
def test_sending_is_stable_below_5_ms_of_deviation(swing_ms: float, stable: bool) -> None:
    made = timeline(EVERY_20_MS, [], delays_ms=[50 - swing_ms, 50 + swing_ms] * 5)
    stats = statistics(made, chunk_ms=20, real_time=True)
    quality = stats["send_timing_analysis"]["timing_quality"]
    assert quality["is_sending_stable"] is stable
    assert quality["max_consecutive_delays"] == 10


def test_exactly_10_ms_late_is_not_significant() -> None:
    made = Timeline()
    made.add_send(20, due_s=0.0, actual_s=0.010)
    quality = statistics(made, chunk_ms=20, real_time=True)["send_timing_analysis"][
        "timing_quality"
    ]
    assert quality["chunks_with_significant_delay"] == 0
    assert quality["chunks_with_positive_delay"] == 1


def test_without_a_clock_latency_means_nothing() -> None:
    made = timeline(EVERY_20_MS, [(90, 20), (400, 200)])
    stats = statistics(made, chunk_ms=20, real_time=False, server_stats=SERVER_STATS)
    assert set(stats["chunk_latency_stats"].values()) == {None}
    assert set(stats["chunk_latency_stats"]) == {
        f"{name}_ms" for name in ("mean", "median", "min", "max", "std", "p95", "p99")
    }
    assert stats["jitter_ms"] is None
    assert stats["is_real_time"] is None
    assert stats["real_time_factor"]["mean"] == 0.3
    assert stats["end_to_end_latency_ms"] == pytest.approx(220)
    assert stats["send_timing_analysis"]["timing_quality"]["is_sending_stable"] is None


def test_no_statistics_of_the_server_means_null() -> None:
    stats = statistics(timeline(EVERY_20_MS, [(90, 20)]), chunk_ms=20, real_time=True)
    assert stats["is_real_time"] is None
    assert stats["real_time_factor"] == dict.fromkeys(
        ("mean", "median", "min", "max", "std", "p95", "p99")
    )


def test_nothing_happened() -> None:
    stats = statistics(Timeline(), chunk_ms=20, real_time=True)
    assert stats["first_token_latency_ms"] is None
    assert stats["timeline_summary"]["total_send_events"] == 0
    assert stats["timeline_summary"]["send_duration_ms"] is None
