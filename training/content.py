"""``python -m training.content``: train the content encoder (phones and pitch).

Phones are learnt from the generator's own alignment, pitch from DIO. Two views of the same content
(two speakers, or clean and degraded) must meet in the bottleneck.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fast_vc_service.models.nano.content import (
    F0_BINS,
    ContentConfig,
    ContentEncoder,
    ContentFrames,
    f0_from_logits,
    f0_to_bin,
)
from fast_vc_service.models.nano.pitch import UNSURE, VOICED
from training import checkpoint, curves
from training.batches import Batch, Library, roughen
from training.paths import DEFAULT_ROOT
from training.precision import half_precision
from training.phones import IGNORED

PHONE_WEIGHT, PITCH_WEIGHT, VOICING_WEIGHT, PAIR_WEIGHT = 1.0, 0.2, 0.3, 0.5
LABEL_SMOOTHING = 0.05
SAVE_EVERY = 500
ARRAYS = ("mel", "f0", "voicing", "phones")


@dataclass(frozen=True)
class Schedule:
    """What a run does; part of its record."""

    steps: int
    pairs: int
    frames: int
    rate: float
    real_share: float
    seed: int
    warmup: int = 300

    def rate_at(self, step: int) -> float:
        """Learning rate: linear warm-up, then a cosine to a hundredth."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def losses(answer: ContentFrames, batch: Batch, edge: int) -> dict[str, Tensor]:
    """Means over the frames that carry a label.

    Args:
        answer: the encoder's frames for ``batch``.
        batch: pairs of views.
        edge: frames at the end of each segment that lack their look-ahead.
    """
    phones, valid = batch.phones.clone(), batch.valid.clone()
    phones[:, phones.shape[1] - edge :] = IGNORED
    valid[:, valid.shape[1] - edge :] = False
    phone = functional.cross_entropy(
        answer.phones.transpose(1, 2),
        phones,
        ignore_index=IGNORED,
        label_smoothing=LABEL_SMOOTHING,
        reduction="sum",
    ) / (phones != IGNORED).sum().clamp(min=1)

    voiced = batch.voicing == VOICED
    bins = torch.arange(F0_BINS, device=batch.f0.device)
    distance = bins - f0_to_bin(batch.f0.clamp(min=1))[..., None]
    target = torch.softmax(-(distance**2) / 2, -1)
    surprise = -(target * torch.log_softmax(answer.f0, -1)).sum(-1)
    pitch = (surprise * voiced).sum() / voiced.sum().clamp(min=1)

    sure = batch.voicing != UNSURE
    flags = functional.binary_cross_entropy_with_logits(
        answer.voicing, voiced.to(answer.voicing.dtype), reduction="none"
    )
    voicing = (flags * sure).sum() / sure.sum().clamp(min=1)

    one, two = answer.bottleneck[0::2], answer.bottleneck[1::2]
    both = valid[0::2]
    apart = ((one - two) ** 2).mean(-1)
    pair = (apart * both).sum() / both.sum().clamp(min=1)
    return {"phone": phone, "pitch": pitch, "voicing": voicing, "pair": pair}


def total(parts: dict[str, Tensor]) -> Tensor:
    """The weighted sum."""
    return (
        PHONE_WEIGHT * parts["phone"]
        + PITCH_WEIGHT * parts["pitch"]
        + VOICING_WEIGHT * parts["voicing"]
        + PAIR_WEIGHT * parts["pair"]
    )


@torch.no_grad()
def measure(answer: ContentFrames, batch: Batch) -> dict[str, tuple[float, float]]:
    """(sum, count) of each quality figure, for pooling over batches."""
    labelled = batch.phones != IGNORED
    right = (answer.phones.argmax(-1) == batch.phones) & labelled
    voiced = batch.voicing == VOICED
    cents = 12 * torch.log2(f0_from_logits(answer.f0) / batch.f0.clamp(min=1)).abs()
    sure = batch.voicing != UNSURE
    voicing = ((answer.voicing > 0) != voiced) & sure
    return {
        "phone_accuracy": (float(right.sum()), float(labelled.sum())),
        "f0_within_half_semitone": (
            float(((cents < 0.5) & voiced).sum()),
            float(voiced.sum()),
        ),
        "f0_off_by_two_semitones": (float(((cents > 2) & voiced).sum()), float(voiced.sum())),
        "voicing_error": (float(voicing.sum()), float(sure.sum())),
    }


def _evaluation_batches(
    library: Library, split: str, degraded: bool, limit: int
) -> Iterator[Batch]:
    """Whole clips, two views each, one clip a batch."""
    for clip in library.clips[split][:limit]:
        views = [view for view in clip.views if view.degraded == degraded]
        yield library.batch([(views[0], views[-1], 0)], views[0].frames)


def evaluate(
    network: ContentEncoder, libraries: dict[str, Library], device: torch.device, limit: int = 40
) -> dict[str, float]:
    """Figures on held-out texts and voices (``eval``) and recordings (``real``)."""
    result: dict[str, float] = {}
    for kind, split in (("synthetic", "eval"), ("real", "valid")):
        if kind not in libraries:
            continue
        for degraded in (False, True):
            pooled: dict[str, list[float]] = {}
            for batch in _evaluation_batches(libraries[kind], split, degraded, limit):
                moved = batch.to(device)
                with torch.no_grad():
                    answer = network(moved.mel)
                figures = measure(answer, moved)
                if kind == "synthetic":
                    parts = losses(answer, moved, network.delay_frames)
                    figures["phone_loss"] = (parts["phone"].item(), 1.0)
                    figures["pair_distance"] = (parts["pair"].item(), 1.0)
                else:
                    figures.pop("phone_accuracy")
                for name, (value, count) in figures.items():
                    sums = pooled.setdefault(name, [0.0, 0.0])
                    sums[0] += value
                    sums[1] += count
            prefix = f"{kind}_{'degraded' if degraded else 'clean'}_"
            result |= {prefix + name: a / max(b, 1.0) for name, (a, b) in pooled.items()}
    return result


def train_batch(libraries: dict[str, Library], schedule: Schedule, step: int) -> Batch:
    """The batch of one step; depends on the seed, the step and the shards loaded."""
    rng = np.random.default_rng([schedule.seed, step])
    real = "real" in libraries and rng.random() < schedule.real_share
    library = libraries["real" if real else "synthetic"]
    batch = library.batch(
        library.random_pairs(schedule.pairs, schedule.frames, rng), schedule.frames
    )
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    mel = roughen(batch.mel, noise)
    kept = torch.rand(len(mel), 1, 1, generator=noise) < 0.2
    return Batch(
        torch.where(kept, batch.mel, mel), batch.f0, batch.voicing, batch.phones, batch.valid
    )


def run(
    root: Path, out: Path, config: ContentConfig, schedule: Schedule, device: torch.device
) -> None:
    """Train, or go on with what ``out`` holds."""
    out.mkdir(parents=True, exist_ok=True)
    names = json.loads((root / "features/phones.json").read_text("utf-8"))
    libraries = {}
    for kind in ("synthetic", "real"):
        library = Library(root / "features" / kind, ARRAYS)
        library.refresh()
        if library.clips["train"]:
            libraries[kind] = library
    torch.manual_seed(schedule.seed)
    network = ContentEncoder(config).to(device)
    average = checkpoint.Average(network)
    optimiser = torch.optim.AdamW(
        network.parameters(), schedule.rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    step = checkpoint.restore(out / "checkpoint.pt", network, average, optimiser)
    settings = {"config": asdict(config), "schedule": asdict(schedule), "phones": names}
    (out / "settings.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False))
    log = out / "curves.jsonl"
    curves.truncate(log, step)

    running: dict[str, float] = {}
    started, first = time.monotonic(), step
    while step < schedule.steps:
        batch = train_batch(libraries, schedule, step).to(device)
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(step)
        with half_precision(device):
            answer = network(batch.mel)
        parts = losses(answer.float(), batch, network.delay_frames)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(total(parts))
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        average.update(network, step)
        for name, part in parts.items():
            value = part.item()
            running[name] = running.get(name, value) * 0.98 + 0.02 * value
        if step % 50 == 0:
            seconds = (step - first) * schedule.pairs * 2 * schedule.frames * 0.02
            record: dict[str, Any] = {"step": step, **running, "lr": schedule.rate_at(step)}
            record["audio_s_per_s"] = seconds / (time.monotonic() - started)
            curves.append(log, record)
            print(record, flush=True)
        if step % SAVE_EVERY == 0 or step == schedule.steps:
            checkpoint.save(out / "checkpoint.pt", step, network, average, optimiser)
            checkpoint.export(out / "content.safetensors", average.network, settings)
            for library in libraries.values():
                library.refresh()
            figures: dict[str, Any] = {"step": step, "hours": libraries["synthetic"].hours}
            encoder = cast(ContentEncoder, average.network)
            figures |= evaluate(encoder, libraries, device)
            curves.append(log, figures)
            curves.draw(log)
            print(figures, flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.content", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--out", type=Path, help="default: ROOT/content")
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--frames", type=int, default=125, help="20 ms frames a segment")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--real-share", type=float, default=0.12, help="batches of recordings")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--right-frames", type=int, default=3, help="look-ahead, 20 ms each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    names = json.loads((args.root / "features/phones.json").read_text("utf-8"))
    config = ContentConfig(len(names), args.width, args.blocks, right_frames=args.right_frames)
    schedule = Schedule(args.steps, args.pairs, args.frames, args.rate, args.real_share, args.seed)
    out = args.out or args.root / "content"
    run(args.root, out, config, schedule, torch.device(args.device))


if __name__ == "__main__":
    main()
