import pytest

from benchmarks.rtf import WARM_UP_BLOCKS, measure
from fast_vc_service.engine.families import build_converter


def test_every_block_is_timed_with_its_whole_way() -> None:
    row = measure(build_converter("passthrough"), seconds=1.0, rate=16_000)
    assert row["block_ms"] == 20
    assert row["blocks"] == 50 - WARM_UP_BLOCKS
    assert 0 < row["step_ms"]["median"] <= row["whole_ms"]["median"]
    assert row["rtf"]["mean"] * 20 == pytest.approx(row["whole_ms"]["mean"])
