"""``python -m training.content``: train the content encoder to predict the teacher's features.

The encoder hears clean, degraded and warped speech, with 60 ms of look-ahead, and regresses the 96
projected numbers that the teacher makes of the whole clean clip (:mod:`training.teacher`); they are
the content that the acoustic model hears.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fast_vc_service.models.nano.content import ContentConfig, ContentEncoder
from fast_vc_service.models.nano.spectrum import warp
from training.loop import Run, add_arguments
from training.packed_speech import Clip, Library, View, roughen
from training.precision import half_precision
from training.units import Units

WARP = 0.16
"""Largest share that the frequencies of a segment are stretched or squeezed by."""

WARPED_SHARE, ROUGH_SHARE, DEGRADED_SHARE = 0.7, 0.4, 0.5
SYNTHETIC_SHARE = 0.2
VARIANCE_FRAMES = 400_000
EVALUATED_CLIPS = 48


class Speech:
    """Shards of one kind with the teacher's features beside them."""

    def __init__(self, root: Path, kind: str, units: Units) -> None:
        self.library = Library(
            root / "features" / kind, ("mel",), {root / "teacher" / kind: ("projected",)}
        )
        self._units = units
        self.library.refresh()

    def segment(self, view: View, start: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log-mel [2 T, MELS], wanted content [T, 96] and what of it counts [T] from a view."""
        mel, valid = self.library.segment(view, start, frames)
        projected = self.library.arrays(view.shard)["projected"]
        first = view.target + start
        wanted, counts = self._units.wanted(projected[first : first + int(valid.sum())], frames)
        return (
            torch.from_numpy(mel.astype(np.float32)),
            torch.from_numpy(wanted),
            torch.from_numpy(counts),
        )

    def draw(
        self, count: int, frames: int, rng: np.random.Generator
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Segments of random training clips, each second of speech as likely as any other."""
        clips = self.library.clips["train"]
        lengths = np.asarray([clip.views[0].frames for clip in clips], np.float64)
        rows = []
        for index in rng.choice(len(clips), count, p=lengths / lengths.sum()):
            degraded = rng.random() < DEGRADED_SHARE
            views = [view for view in clips[int(index)].views if view.degraded == degraded]
            view = views[int(rng.integers(len(views)))]
            start = int(rng.integers(max(1, view.frames - frames + 1)))
            rows.append(self.segment(view, start, frames))
        return rows


def stacked(rows: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """One batch of segments."""
    mel, wanted, counts = (torch.stack(column) for column in zip(*rows, strict=True))
    return mel, wanted, counts


def squared_error(content: Tensor, wanted: Tensor, counts: Tensor, variance: Tensor) -> Tensor:
    """Mean squared error of each frame relative to each dimension's variance.

    Args:
        content: [B, T, 96] that was made.
        wanted: [B, T, 96].
        counts: [B, T].
        variance: [96].
    """
    apart = ((content - wanted).square() / variance).mean(-1)
    return (apart * counts).sum() / counts.sum().clamp(min=1)


def perturbed(mel: Tensor, rng: torch.Generator) -> Tensor:
    """Other vocal tracts and cheap degradations for a share of the rows [B, 2 T, MELS]."""
    rows, device = len(mel), mel.device
    factors = 1 + WARP * (2 * torch.rand(rows, generator=rng) - 1)
    kept = torch.rand(rows, generator=rng) >= WARPED_SHARE
    heard = warp(mel, torch.where(kept, torch.ones(()), factors).to(device))
    rough = (torch.rand(rows, 1, 1, generator=rng) < ROUGH_SHARE).to(device)
    return torch.where(rough, roughen(heard, rng), heard)


def variance_of(speech: Speech) -> Tensor:
    """Variance [96] of the wanted content over training speech."""
    clips = speech.library.clips["train"]
    frames, parts = 0, []
    for clip in clips:
        view = clip.views[0]
        _, wanted, counts = speech.segment(view, 0, view.frames)
        parts.append(wanted[counts])
        frames += len(parts[-1])
        if frames >= VARIANCE_FRAMES:
            break
    if not parts:
        raise SystemExit("training.content: no speech; run training.packing and training.teacher")
    return torch.cat(parts).var(0)


def _chosen(clips: Sequence[Clip], count: int) -> list[Clip]:
    """Clips spread evenly over what there is."""
    if not clips:
        return []
    places = np.unique(np.linspace(0, len(clips) - 1, count).astype(int))
    return [clips[int(place)] for place in places]


@torch.no_grad()
def evaluate(
    network: ContentEncoder, speech: dict[str, Speech], variance: Tensor, device: torch.device
) -> dict[str, float]:
    """Relative squared error of people unheard and heard, clean and degraded, and of the rest."""
    figures = {}
    for name, kind, split in (
        ("unseen", "real", "valid"),
        ("known", "real", "train"),
        ("synthetic", "synthetic", "eval"),
    ):
        for degraded in (False, True):
            total = frames = 0.0
            for clip in _chosen(speech[kind].library.clips[split], EVALUATED_CLIPS):
                view = next(view for view in clip.views if view.degraded == degraded)
                # Few lengths: kernels are made anew for each.
                length = -(-view.frames // 50) * 50
                mel, wanted, counts = stacked([speech[kind].segment(view, 0, length)])
                counts[:, view.frames - network.delay_frames :] = False
                made = network(mel.to(device)).bottleneck.cpu()
                error = squared_error(made, wanted, counts, variance)
                total += float(error) * int(counts.sum())
                frames += int(counts.sum())
            if frames:
                figures[f"{name}_{'degraded' if degraded else 'clean'}"] = total / frames
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.content", description=__doc__)
    add_arguments(parser, steps=20_000, rate=1e-3, segments=24)
    parser.add_argument("--frames", type=int, default=125, help="20 ms frames a segment")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--right-frames", type=int, default=3, help="look-ahead, 20 ms each")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    units = Units.load()
    speech = {kind: Speech(args.root, kind, units) for kind in ("real", "synthetic")}
    variance = variance_of(speech["real"])
    torch.manual_seed(args.seed)
    config = ContentConfig(
        0, args.width, args.blocks, right_frames=args.right_frames, normalised=False
    )
    network = ContentEncoder(config).to(device)
    settings = {"config": asdict(config), "steps": args.steps, "seed": args.seed}
    run = Run(args.out or args.root / "content", network, args, exports={"content": settings})

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([args.seed, step])
        few = int(rng.binomial(args.segments, SYNTHETIC_SHARE))
        few = few if speech["synthetic"].library.clips["train"] else 0
        rows = speech["real"].draw(args.segments - few, args.frames, rng)
        rows += speech["synthetic"].draw(few, args.frames, rng) if few else []
        mel, wanted, counts = (each.to(device) for each in stacked(rows))
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        counts[:, args.frames - network.delay_frames :] = False
        with half_precision(device):
            made = network(perturbed(mel, noise)).bottleneck
        return {
            "content": squared_error(made.float(), wanted, counts, variance.to(device)),
        }

    def figures() -> dict[str, float]:
        for each in speech.values():
            each.library.refresh()
        found = evaluate(run.averaged("content", ContentEncoder), speech, variance, device)
        return {**found, "hours": sum(each.library.hours for each in speech.values())}

    run.train(step_losses, figures)


if __name__ == "__main__":
    main()
