"""``python -m training.ship``: put finished weights into the package, in half precision.

Each shipped file is then loaded as the service loads it and compared, weights, buffers and the
answer to one batch, with the averaged network of the training's checkpoint.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fast_vc_service.models.nano import envelope
from fast_vc_service.models.nano.acoustic import (
    GLOBAL,
    MEMORY,
    Acoustic,
    Speaker,
    euler_times,
)
from fast_vc_service.models.nano.content import ContentEncoder, ContentFrames
from fast_vc_service.models.nano.f0_tracker import F0Tracker
from fast_vc_service.models.nano.load import (
    WEIGHTS,
    load_acoustic,
    load_content,
    load_f0_tracker,
    load_vocoder,
)
from fast_vc_service.models.nano.spectrum import MELS
from fast_vc_service.models.nano.vocoder import Vocoder
from training.paths import DEFAULT_ROOT

TOLERANCE = 0.02
"""What float16 may change, relative to the largest number of a tensor or an answer."""

FRAMES = 50


class ShippedWrongError(ValueError):
    """A shipped file is not what was trained."""


def halve(source: Path, target: Path) -> int:
    """Write ``source`` as float16, header and all; returns the bytes written.

    Raises:
        ValueError: a weight does not fit into float16.
    """
    with safetensors.safe_open(source, framework="pt") as file:
        names = file.keys()
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
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


def _content(network: ContentEncoder, rng: torch.Generator) -> Tensor:
    mel = -6 + torch.randn(2, 2 * FRAMES, MELS, generator=rng)
    answer: ContentFrames = network(mel)
    return answer.bottleneck


def _acoustic(network: Acoustic, rng: torch.Generator) -> Tensor:
    config, rows = network.config, 2

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    speaker = Speaker(
        normal(rows, GLOBAL),
        normal(rows, FRAMES, config.content),
        normal(rows, FRAMES, MEMORY),
        torch.ones(rows, FRAMES, dtype=torch.bool),
    )
    cues = normal(rows, FRAMES, network.stem.in_features - config.content)
    noise = normal(rows, FRAMES, 2 * envelope.BANDS)
    out, _ = network.stream(
        normal(rows, FRAMES, config.content),
        cues,
        noise,
        network.prepare(speaker, euler_times(1, rows)),
        network.new_state(rows, 1),
    )
    return out


def _melody(network: F0Tracker, rng: torch.Generator) -> Tensor:
    samples = 0.1 * torch.randn(2, 320 * FRAMES, generator=rng)
    pitch, voicing, _ = network.stream(samples, network.new_state(2))
    return torch.cat([pitch.flatten(), voicing.flatten()])


def _vocoder(network: Vocoder, rng: torch.Generator) -> Tensor:
    bands = -5 + torch.randn(2, FRAMES, envelope.BANDS, generator=rng)
    f0 = torch.full((2, FRAMES), 150.0)
    noise = torch.randn(2, FRAMES * envelope.HOP_SAMPLES, generator=rng)
    sound: Tensor = network(bands, f0, torch.ones(2, FRAMES), noise)
    return sound


@dataclass(frozen=True)
class _Shipped:
    """One file of the package.

    Attributes:
        run: folder of the training below ROOT.
        load: as the service does.
        answer: to one batch.
        part: of the networks that were trained together, where they were several.
    """

    run: str
    load: Callable[[Path], nn.Module]
    answer: Callable[..., Tensor]
    part: str = ""


_NETWORKS = {
    "content": _Shipped("acoustic", load_content, _content, "content"),
    "melody": _Shipped("melody", load_f0_tracker, _melody),
    "acoustic": _Shipped("acoustic", load_acoustic, _acoustic, "acoustic"),
    "vocoder": _Shipped("vocoder", load_vocoder, _vocoder),
}


def _apart(one: Tensor, two: Tensor) -> float:
    return float((one - two).abs().max() / two.abs().max().clamp(min=1e-3))


@torch.no_grad()
def compare(name: str, shipped: Path, checkpoint: Path) -> None:
    """Compare a shipped file with the averaged network of the checkpoint it came from.

    Raises:
        ShippedWrongError: they differ by more than float16 explains.
    """
    which = _NETWORKS[name]
    network, answer = which.load(shipped), which.answer
    everything = torch.load(checkpoint, map_location="cpu", weights_only=True)["average"]
    prefix = f"{which.part}." if which.part else ""
    stored = {
        key.removeprefix(prefix): value
        for key, value in everything.items()
        if key.startswith(prefix)
    }
    ours = network.state_dict()
    if set(ours) != set(stored):
        raise ShippedWrongError(f"{shipped}: other tensors than {checkpoint} has")
    for key, value in ours.items():
        if (apart := _apart(value, stored[key].float())) > TOLERANCE:
            raise ShippedWrongError(f"{shipped}: {key} is {apart:.3f} from the averaged network's")
    said = answer(network, torch.Generator().manual_seed(1))
    network.load_state_dict(stored)
    wanted = answer(network, torch.Generator().manual_seed(1))
    if (apart := _apart(said, wanted)) > TOLERANCE:
        raise ShippedWrongError(f"{shipped}: its answers are {apart:.3f} from the averaged ones")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.ship", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--campplus", type=Path, help="weights of CAM++, when they are to be put")
    parser.add_argument("--only", action="append", choices=sorted(_NETWORKS), help="default: all")
    parser.add_argument("--to", type=Path, default=WEIGHTS)
    args = parser.parse_args(arguments)
    for name in args.only or _NETWORKS:
        which = _NETWORKS[name]
        folder, shipped = args.root / which.run, args.to / f"{name}.safetensors"
        size = halve(folder / f"{name}.safetensors", shipped)
        compare(name, shipped, folder / "checkpoint.pt")
        print(f"{name}: {size / 1e6:.1f} MB")
    if args.campplus is not None:
        size = halve(args.campplus, args.to / "campplus.safetensors")
        print(f"campplus: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
