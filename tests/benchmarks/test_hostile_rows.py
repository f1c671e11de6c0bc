from __future__ import annotations

import pytest

from benchmarks.attacks import KINDS
from benchmarks.hostile import TOGETHER, rows


@pytest.mark.parametrize("tls", [False, True])
def test_every_kind_attacks_where_it_can(tls: bool) -> None:
    measured = list(rows("", 100, tls=tls))
    for attacks, connections in measured:
        assert connections >= len(attacks)
        assert all(stage in KINDS[kind].stages for kind, stage in attacks)
    seen = {kind for attacks, _ in measured for kind, _ in attacks}
    assert seen == {name for name, kind in KINDS.items() if kind.tls == tls}
    together = [attacks for attacks, _ in measured if len(attacks) > 1]
    assert len(together) == (0 if tls else 2)
    assert all(tuple(kind for kind, _ in attacks) == TOGETHER for attacks in together)
