from __future__ import annotations

import json
from collections import Counter

from benchmarks.chaos import Sample, Told


def test_what_was_seen_goes_into_a_file_and_growth_is_from_the_first_rest() -> None:
    told = Told(sessions=Counter(["complete", "complete", "error BUSY"]))
    told.samples += [Sample(0.0, 100.0, 30, 12), Sample(5.0, 180.0, 90, 40)]
    told.samples.append(Sample(9.0, 101.5, 30, 13))
    assert json.loads(json.dumps(told.as_json()))["sessions"] == {"complete": 2, "error BUSY": 1}
    assert told.growth() == {"memory_mb": 1.5, "descriptors": 0, "threads": 1}
