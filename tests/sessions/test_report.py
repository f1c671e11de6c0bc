import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_vc_service.sessions.report import STAGES, Histogram, PerformanceReport

durations_s = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200)


@given(values=durations_s, fraction=st.floats(0.0, 1.0))
def test_quantile_is_within_one_percent_of_the_sample_at_its_rank(
    values: list[float], fraction: float
) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    rank = max(math.ceil(fraction * len(values)), 1)
    exact = sorted(values)[rank - 1]
    assert histogram.quantiles_s((fraction,))[0] == pytest.approx(exact, rel=0.0101)


@given(values=durations_s)
def test_extremes_mean_and_count_are_exact(values: list[float]) -> None:
    report = PerformanceReport()
    for value in values:
        report.stage("step", value)
    figures = report.as_dict()["step"]
    assert figures["min"] == pytest.approx(1e3 * min(values))
    assert figures["max"] == pytest.approx(1e3 * max(values))
    assert figures["mean"] == pytest.approx(1e3 * float(np.mean(values)))
    assert figures["count"] == len(values)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-12, 1e9])
def test_durations_beyond_the_range_are_counted(seconds: float) -> None:
    histogram = Histogram()
    histogram.add(seconds)
    assert histogram.quantiles_s((0.5,)) == [max(seconds, 0.0)]


def test_every_stage_is_reported_also_before_it_was_measured() -> None:
    figures = PerformanceReport().as_dict()
    assert set(figures) == set(STAGES)
    assert figures["total"] == {
        **dict.fromkeys(("mean", "min", "max", "median", "p95", "p99")),
        "count": 0,
    }


def test_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Histogram().quantiles_s((0.5,))


def test_nothing_is_lost_between_threads() -> None:
    report = PerformanceReport()

    def work() -> None:
        for _ in range(2000):
            report.stage("send", 0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert report.as_dict()["send"]["count"] == 8000
