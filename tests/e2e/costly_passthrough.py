"""``fast-vc`` whose engine ``passthrough`` computes: 1 ms of processor time a block and session."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from fast_vc_service import cli
from fast_vc_service.contract import Converter, FloatArray, State
from fast_vc_service.engine import families
from fast_vc_service.models.passthrough.converter import PassthroughConverter

COST_S = 1e-3


class Costly(PassthroughConverter):
    """What it takes grows with what others take of the machine, as with a real network."""

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        ends = time.thread_time() + COST_S * len(states)
        while time.thread_time() < ends:
            pass
        return super().step(blocks, states)


def costly(block_ms: int, _device: str) -> Converter:
    return Costly(block_ms=block_ms)


if __name__ == "__main__":
    family = families.FAMILIES["passthrough"]
    families.FAMILIES["passthrough"] = replace(family, build=costly, max_batch=1, threads=1)
    cli.main()
