"""The stages of a block are all timed, on the code as it is."""

from __future__ import annotations

from benchmarks import block_cost


def test_every_stage_costs_something() -> None:
    costs = block_cost.measure(4 * block_cost.BATCH)
    assert {"frame in", "plan the batch", "step", "join, encode, count", "frame out"} <= set(costs)
    assert all(cost > 0 for cost in costs.values())
