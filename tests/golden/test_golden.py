from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.golden.checks import CHECKS, read

FOLDER = Path(__file__).parent.parent / "data" / "golden"


@pytest.mark.parametrize("stem", sorted(CHECKS))
def test_every_recorded_array_is_reproduced(stem: str) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        results = list(CHECKS[stem](read(FOLDER / f"{stem}.npz"), FOLDER))
    assert results
    assert not [result for result in results if not result.passed]
