"""``python -m training.acoustic``: train the acoustic model, mean and flow together."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fast_vc_service.models.nano.acoustic import (
    CENTRE,
    SPREAD,
    Acoustic,
    AcousticConfig,
    Prepared,
    Speaker,
    beside,
    euler_times,
    restore,
    speaker_vector,
)
from fast_vc_service.models.nano.spectrum import MELS, warp
from training.loop import Run, add_arguments
from training.pairs import PairLibrary, Pairs
from training.precision import half_precision

FRAMES = 125
"""Frames of 20 ms a segment."""

DELTA_WEIGHT, FLOW_WEIGHT = 0.5, 0.3
REAL_SHARE = 0.15
STYLE_NOISE = 0.1
WARP = 0.18
"""Largest logarithm of what the frequencies heard of a source are stretched by."""

TILT, LEVEL = 0.5, 0.4
DEAF_SHARE = 0.15
"""Segments of which nothing but the content is heard, so that the content stays in use."""

HIDDEN_SHARE, HIDDEN_FRAMES = 0.35, 8
"""Stretches whose content is hidden from the other segments.

On synthetic speech the content is nearly always right; on people it is not, and what is heard must
make up for it.
"""


def prepare(
    network: Acoustic, batch: Pairs, times: Sequence[Tensor], noise: Callable[[Tensor], Tensor]
) -> Prepared:
    """The speakers of a batch; ``noise`` roughens their vectors."""
    vector = speaker_vector(batch.embedding, batch.memory_envelope, batch.memory_mask)
    speaker = Speaker(noise(vector), batch.memory_content, batch.memory_envelope, batch.memory_mask)
    return network.prepare(speaker, times)


def roughen(batch: Pairs, rng: torch.Generator) -> Pairs:
    """The sources as they may come: other vocal tracts, another colour, content or sound hidden.

    The level is a little off too, and must come back in what is said: the target moves along.
    """
    rows, frames = len(batch.mel), batch.mel.shape[1]
    device = batch.mel.device

    def uniform(most: float, *shape: int) -> Tensor:
        return (most * (2 * torch.rand(*shape, generator=rng) - 1)).to(device)

    points = uniform(TILT, rows, 1, 5)
    tilt = functional.interpolate(points, MELS, mode="linear", align_corners=True)
    level = LEVEL * torch.randn(rows, 1, generator=rng).to(device)
    heard = warp(batch.mel, torch.exp(uniform(WARP, rows))) + tilt + level[..., None]
    deaf = (torch.rand(rows, generator=rng) < DEAF_SHARE).to(device)
    # The middle of the normalised range, which stands for nothing.
    heard = torch.where(deaf[:, None, None], torch.full_like(heard, CENTRE), heard)
    length = batch.content.shape[1]
    hidden = torch.rand(rows, -(-length // HIDDEN_FRAMES), generator=rng) < HIDDEN_SHARE
    hidden = hidden.repeat_interleave(HIDDEN_FRAMES, 1)[:, :length].to(device)
    content = batch.content.masked_fill((hidden & ~deaf[:, None])[..., None], 0.0)
    return replace(
        batch,
        content=content,
        mel=heard[:, :frames],
        energy=batch.energy + level,
        envelope=batch.envelope + level[..., None] / SPREAD,
    )


def losses(network: Acoustic, batch: Pairs, rng: torch.Generator) -> dict[str, Tensor]:
    """Mean, its change from frame to frame, and the flow's velocity."""
    device = batch.content.device

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=rng).to(device)

    batch = roughen(batch, rng)
    rows, frames = batch.content.shape[:2]
    target = batch.envelope.unflatten(1, (frames, 2)).flatten(2)
    bands = batch.bands.repeat(1, 2)[:, None]
    cues = beside(batch.energy, batch.f0, batch.voicing, batch.mel)
    with half_precision(device):
        time = torch.rand(rows, generator=rng).to(device)
        speaker = prepare(network, batch, [time], lambda v: v + STYLE_NOISE * normal(v))
        state = network.new_state(rows, 0, device)
        h, mean, _ = network.trunk(batch.content, cues, speaker, state)
        mean = mean.float()
        weight = batch.valid[..., None] * bands
        count = weight.sum().clamp(min=1)
        residual = (target - mean.detach()) * weight
        network.detail.lerp_(
            torch.sqrt(residual.square().sum((0, 1)) / weight.sum((0, 1)).clamp(min=1) + 1e-4),
            0.01,
        )
        detail = residual / network.detail
        start = normal(detail)
        between = start + time[:, None, None] * (detail - start)
        flow = network.new_state(rows, 1, device).flow[0]
        velocity, _ = network.flow.stream(between, h, speaker.flow[0], flow)
    missed = ((velocity.float() - (detail - start)).square() * weight).sum() / count
    change = (mean - target).unflatten(-1, (2, -1)).flatten(1, 2).diff(dim=1)
    both = weight.unflatten(-1, (2, -1)).flatten(1, 2)[:, 1:]
    return {
        "mean": ((mean - target).abs() * weight).sum() / count,
        "change": DELTA_WEIGHT * (change.abs() * both).sum() / both.sum().clamp(min=1),
        "flow": FLOW_WEIGHT * missed,
    }


@torch.no_grad()
def measure(network: Acoustic, batch: Pairs, steps: int, seed: int) -> dict[str, float]:
    """Distances in dB between made and true envelopes, with ``steps`` Euler steps."""
    device = batch.content.device
    rows, frames = batch.content.shape[:2]
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(rows, frames, batch.envelope.shape[-1] * 2, generator=rng).to(device)
    made, _ = network.stream(
        batch.content,
        beside(batch.energy, batch.f0, batch.voicing, batch.mel),
        noise,
        prepare(network, batch, euler_times(steps, rows, device), lambda v: v),
        network.new_state(rows, steps, device),
    )
    wanted = restore(batch.envelope)
    weight = batch.valid.repeat_interleave(2, 1)[..., None] * batch.bands[:, None]
    apart = ((made - wanted).abs() * weight).sum() / weight.sum()
    return {f"db_{steps}": float(apart) * 8.686}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.acoustic", description=__doc__)
    add_arguments(parser, steps=12_000, rate=1e-3, segments=16)
    parser.add_argument("--content", type=Path, help="default: ROOT/content/content.safetensors")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    root: Path = args.root
    device = torch.device(args.device)
    weights: Path = args.content or root / "content/content.safetensors"
    version = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    libraries = {kind: PairLibrary(root, kind, version) for kind in ("synthetic", "real")}
    for library in libraries.values():
        library.refresh()
    torch.manual_seed(args.seed)
    config = AcousticConfig()
    network = Acoustic(config).to(device)
    settings = {"config": asdict(config), "steps": args.steps, "seed": args.seed}
    settings["content"] = version
    run = Run(args.out or root / "acoustic", network, args, settings, "acoustic")

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([args.seed, step])
        real = bool(libraries["real"].clips("train")) and rng.random() < REAL_SHARE
        library = libraries["real" if real else "synthetic"]
        batch = library.draw("train", args.segments, FRAMES, rng).to(device)
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return losses(network, batch, noise)

    def evaluate() -> dict[str, float]:
        figures: dict[str, float] = {}
        for kind, split in (("synthetic", "eval"), ("real", "valid")):
            library = libraries[kind]
            library.refresh()
            if not library.clips(split):
                continue
            batch = library.draw(split, 32, FRAMES, np.random.default_rng(5)).to(device)
            for steps in (0, 2):
                found = measure(run.averaged(Acoustic), batch, steps, 5)
                figures |= {f"{kind}_{name}": value for name, value in found.items()}
        return {**figures, "hours": libraries["synthetic"].hours}

    run.train(step_losses, evaluate)


if __name__ == "__main__":
    main()
