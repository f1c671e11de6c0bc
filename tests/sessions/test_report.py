import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_vc_service.client.summary import describe
from fast_vc_service.sessions.report import STAGES, Histogram, PerformanceReport

values_in_range = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200)


def histogram_of(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(values=values_in_range, fraction=st.floats(0.0, 1.0))
def test_quantile_is_within_one_percent_of_the_value_at_its_rank(
    values: list[float], fraction: float
) -> None:
    rank = max(math.ceil(fraction * len(values)), 1)
    exact = sorted(values)[rank - 1]
    assert histogram_of(values).quantiles(fraction)[0] == pytest.approx(exact, rel=0.0101)


@given(values=values_in_range)
def test_mean_extremes_and_spread_are_exact(values: list[float]) -> None:
    summary = histogram_of(values).summary()
    exact = describe(values)
    assert set(summary) == set(exact)
    for name in ("mean", "min", "max", "std"):
        assert summary[name] == pytest.approx(exact[name], rel=1e-6, abs=1e-9 * max(values))


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-12, 1e9])
def test_values_beyond_the_range_are_counted(value: float) -> None:
    assert histogram_of([value]).quantiles(0.5) == [max(value, 0.0)]


def test_an_empty_histogram_says_nothing() -> None:
    assert Histogram().summary() == describe([])
    with pytest.raises(ValueError, match="at least one"):
        Histogram().quantiles(0.5)


def test_every_stage_is_reported_in_ms_also_before_it_was_measured() -> None:
    report = PerformanceReport()
    report.block({"step": 0.25})
    figures = report.as_dict()
    assert set(figures) == set(STAGES)
    assert figures["total"] == {**describe([]), "count": 0}
    assert figures["step"]["median"] == pytest.approx(250, rel=0.01)
    assert figures["step"]["max"] == 250
    assert figures["step"]["count"] == 1


def test_nothing_is_lost_between_threads() -> None:
    report = PerformanceReport()

    def work() -> None:
        for _ in range(2000):
            report.block({"send": 0.001})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert report.as_dict()["send"]["count"] == 8000
