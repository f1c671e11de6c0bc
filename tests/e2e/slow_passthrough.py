"""``fast-vc`` whose engine ``passthrough`` takes its time: 16 ms a block of 20 ms and session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fast_vc_service import cli
from fast_vc_service.contract import Converter, FloatArray, State
from fast_vc_service.engine import families
from fast_vc_service.models.passthrough.converter import PassthroughConverter
from waiting import spend


class Slow(PassthroughConverter):
    """Carries one live session."""

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        spend(0.016 * len(states))
        return super().step(blocks, states)


def slow(block_ms: int, _device: str) -> Converter:
    return Slow(block_ms=block_ms)


if __name__ == "__main__":
    family = families.FAMILIES["passthrough"]
    families.FAMILIES["passthrough"] = replace(family, build=slow, max_batch=1)
    cli.main()
