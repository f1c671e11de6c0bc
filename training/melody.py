"""``python -m training.melody``: train F0 and voicing of live speech on degraded recordings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn import functional

from fast_vc_service.models.nano.f0_tracker import (
    F0_BINS,
    F0Tracker,
    F0TrackerConfig,
    f0_from_logits,
    f0_to_bin,
)
from fast_vc_service.models.nano.pitch import UNSURE, VOICED
from training.augment import degrade
from training.loop import Run, add_arguments
from training.packed_speech import Library, Speech
from training.precision import half_precision

ARRAYS = ("f0", "voicing", "envelope", "audio")
FRAMES = 100
DEGRADED_SHARE = 0.6
REAL_SHARE = 0.2
VOICING_WEIGHT = 1.0


def losses(network: F0Tracker, heard: Tensor, batch: Speech) -> dict[str, Tensor]:
    """Surprise at the true F0 bin (blurred by one bin) and at the voicing, where both are sure."""
    late = network.delay_frames
    device = heard.device
    with half_precision(device):
        logits, voicing, _ = network.stream(heard, network.new_state(len(heard), device))
    logits, voicing = logits[:, late:].float(), voicing[:, late:].float()
    frames = logits.shape[1]
    f0, flags = batch.f0[:, :frames], batch.voicing[:, :frames]
    voiced = flags == VOICED
    distance = torch.arange(F0_BINS, device=device) - f0_to_bin(f0.clamp(min=1))[..., None]
    target = torch.softmax(-(distance**2) / 2, -1)
    surprise = -(target * torch.log_softmax(logits, -1)).sum(-1)
    sure = flags != UNSURE
    wrong = functional.binary_cross_entropy_with_logits(
        voicing, voiced.to(voicing.dtype), reduction="none"
    )
    return {
        "pitch": (surprise * voiced).sum() / voiced.sum().clamp(min=1),
        "voicing": VOICING_WEIGHT * (wrong * sure).sum() / sure.sum().clamp(min=1),
    }


@torch.no_grad()
def measure(network: F0Tracker, heard: Tensor, batch: Speech) -> dict[str, float]:
    """Shares of voiced frames off by half a semitone and by two, and of wrong voicings."""
    late = network.delay_frames
    logits, voicing, _ = network.stream(heard, network.new_state(len(heard), heard.device))
    f0, found = f0_from_logits(logits[:, late:]), voicing[:, late:] > 0
    true, flags = batch.f0[:, : f0.shape[1]], batch.voicing[:, : f0.shape[1]]
    voiced, sure = flags == VOICED, flags != UNSURE
    apart = 12 * torch.log2(f0 / true.clamp(min=1)).abs()[voiced]
    return {
        "off_half": float((apart > 0.5).float().mean()),
        "off_two": float((apart > 2).float().mean()),
        "median": float(apart.median()),
        "voicing_error": float((found != voiced)[sure].float().mean()),
    }


def hear(batch: Speech, share: float, rng: np.random.Generator) -> Tensor:
    """The segments at 16 kHz, a ``share`` of them degraded."""
    rows = []
    for row in batch.audio.numpy():
        x = soxr.resample(row, 24_000, 16_000).astype(np.float32)[: FRAMES * 160]
        x = np.pad(x, (0, FRAMES * 160 - len(x)))
        if rng.random() < share and np.abs(x).max() > 1e-4:
            x = degrade(x, 16_000, rng)
        rows.append(x)
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.melody", description=__doc__)
    add_arguments(parser, steps=4000, rate=1.5e-3, segments=24)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    libraries = {
        kind: Library(args.root / "features" / kind, ARRAYS) for kind in ("synthetic", "real")
    }
    for library in libraries.values():
        library.refresh()
    torch.manual_seed(args.seed)
    config = F0TrackerConfig()
    network = F0Tracker(config).to(device)
    settings = {"config": asdict(config), "steps": args.steps, "seed": args.seed}
    run = Run(args.out or args.root / "melody", network, args, exports={"melody": settings})

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([args.seed, step])
        real = bool(libraries["real"].clips["train"]) and rng.random() < REAL_SHARE
        batch = libraries["real" if real else "synthetic"].speech(
            "train", args.segments, FRAMES, rng
        )
        return losses(network, hear(batch, DEGRADED_SHARE, rng).to(device), batch.to(device))

    def evaluate() -> dict[str, float]:
        figures: dict[str, float] = {}
        for kind, split in (("synthetic", "eval"), ("real", "valid")):
            if not libraries[kind].clips[split]:
                continue
            for name, share in (("clean", 0.0), ("degraded", 1.0)):
                rng = np.random.default_rng(9)
                batch = libraries[kind].speech(split, 96, FRAMES, rng)
                heard = hear(batch, share, rng).to(device)
                found = measure(run.averaged("melody", F0Tracker), heard, batch.to(device))
                figures |= {f"{kind}_{name}_{key}": value for key, value in found.items()}
        return figures

    run.train(step_losses, evaluate)


if __name__ == "__main__":
    main()
