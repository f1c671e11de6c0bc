"""``fast-vc`` whose engine ``seedvc-tiny`` has small networks with generated weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
# Worker processes get the same path: for them.
sys.path.insert(0, str(Path(__file__).parent / "in_workers"))
sys.path.insert(0, str(Path(__file__).parent))

from fast_vc_service import cli
from fast_vc_service.contract import Converter
from fast_vc_service.engine import families
from fast_vc_service.models.seedvc.options import SeedVcSource
from tests import seedvc_networks


def small(block_ms: int, _device: str, options: SeedVcSource) -> Converter:
    quick = replace(options.options, steps=1, prompt_s=1.0, context_ms=500, gate=False)
    return seedvc_networks.converter("tiny", quick, block_ms)


def make_small() -> None:
    """Have the engine built with small networks in this process."""
    family = families.FAMILIES["seedvc-tiny"]
    families.FAMILIES["seedvc-tiny"] = replace(family, build=small, max_batch=2)


if __name__ == "__main__":
    make_small()
    cli.main()
