from __future__ import annotations

from fast_vc_service.server.retry_after import (
    ENDS_REMEMBERED,
    LONGEST_RETRY_S,
    RETRY_S,
    SessionEnds,
)


def test_nothing_known_is_the_constant() -> None:
    assert SessionEnds().retry_after_s(100.0) == RETRY_S


def test_it_is_the_time_between_ends() -> None:
    turnover = SessionEnds()
    for second in range(0, 100, 10):
        turnover.ended(float(second))
    assert turnover.retry_after_s(100.0) == 10


def test_what_is_long_ago_counts_no_more() -> None:
    turnover = SessionEnds()
    turnover.ended(0.0)
    for step in range(ENDS_REMEMBERED):
        turnover.ended(1000.0 + 3 * step)
    assert turnover.retry_after_s(1000.0 + 3 * ENDS_REMEMBERED) == 3


def test_it_grows_while_nobody_ends_and_stays_within_bounds() -> None:
    turnover = SessionEnds()
    turnover.ended(0.0)
    assert turnover.retry_after_s(0.1) == 1
    assert turnover.retry_after_s(20.0) == 20
    assert turnover.retry_after_s(1e6) == LONGEST_RETRY_S
