"""``python -m training.ship``: put finished weights into the package, in half precision."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from fast_vc_service.models.nano.load import WEIGHTS
from training.paths import DEFAULT_ROOT


def halve(source: Path, target: Path) -> int:
    """Write ``source`` as float16, header and all; returns the bytes written.

    Raises:
        ValueError: a weight does not fit into float16.
    """
    with safetensors.safe_open(source, framework="pt") as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    halved = {
        name: value.half() if value.is_floating_point() else value
        for name, value in tensors.items()
    }
    for name, value in halved.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{source}: {name} does not fit into float16")
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(halved, target, metadata)
    return target.stat().st_size


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.ship", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--campplus", type=Path, help="weights of CAM++, when they are to be put")
    parser.add_argument("--to", type=Path, default=WEIGHTS)
    args = parser.parse_args(arguments)
    sources = {
        name: args.root / name / f"{name}.safetensors"
        for name in ("content", "melody", "acoustic", "vocoder")
    }
    if args.campplus is not None:
        sources["campplus"] = args.campplus
    for name, source in sources.items():
        size = halve(source, args.to / f"{name}.safetensors")
        print(f"{name}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
