"""``python -m training.content``: train the content encoder on phones.

Phones are learnt from the generator's own alignment. Two views of the same content (two speakers,
or clean and degraded) must meet in the bottleneck.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fast_vc_service.models.nano.content import ContentConfig, ContentEncoder, ContentFrames
from training.batches import Batch, Library, roughen
from training.loop import Run, add_arguments
from training.phones import IGNORED
from training.precision import half_precision

PAIR_WEIGHT = 0.5
LABEL_SMOOTHING = 0.05
REAL_SHARE = 0.12
ROUGH_SHARE = 0.8
ARRAYS = ("mel", "phones")


def losses(answer: ContentFrames, batch: Batch, edge: int) -> dict[str, Tensor]:
    """Weighted means over the frames that count.

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
    one, two = answer.bottleneck[0::2], answer.bottleneck[1::2]
    both = valid[0::2]
    apart = ((one - two) ** 2).mean(-1)
    pair = (apart * both).sum() / both.sum().clamp(min=1)
    return {"phone": phone, "pair": PAIR_WEIGHT * pair}


@torch.no_grad()
def measure(answer: ContentFrames, batch: Batch) -> tuple[float, float]:
    """Right frames and labelled frames, for pooling over batches."""
    labelled = batch.phones != IGNORED
    right = (answer.phones.argmax(-1) == batch.phones) & labelled
    return float(right.sum()), float(labelled.sum())


def _evaluation_batches(library: Library, degraded: bool, limit: int) -> Iterator[Batch]:
    """Whole clips of held-out texts and voices, two views each, one clip a batch."""
    for clip in library.clips["eval"][:limit]:
        views = [view for view in clip.views if view.degraded == degraded]
        yield library.batch([(views[0], views[-1], 0)], views[0].frames)


@torch.no_grad()
def evaluate(
    network: ContentEncoder, library: Library, device: torch.device, limit: int = 40
) -> dict[str, float]:
    """Accuracy and losses, clean and degraded."""
    result: dict[str, float] = {}
    for degraded in (False, True):
        right = labelled = phone = pair = 0.0
        count = 0
        for batch in _evaluation_batches(library, degraded, limit):
            moved = batch.to(device)
            answer = network(moved.mel)
            parts = losses(answer, moved, network.delay_frames)
            a, b = measure(answer, moved)
            right, labelled, count = right + a, labelled + b, count + 1
            phone, pair = phone + parts["phone"].item(), pair + parts["pair"].item()
        prefix = "degraded_" if degraded else "clean_"
        result |= {
            prefix + "phone_accuracy": right / max(labelled, 1.0),
            prefix + "phone_loss": phone / max(count, 1),
            prefix + "pair_loss": pair / max(count, 1),
        }
    return result


def train_batch(libraries: dict[str, Library], args: argparse.Namespace, step: int) -> Batch:
    """The batch of one step; depends on the seed, the step and the shards loaded."""
    rng = np.random.default_rng([args.seed, step])
    real = bool(libraries["real"].clips["train"]) and rng.random() < REAL_SHARE
    library = libraries["real" if real else "synthetic"]
    batch = library.batch(library.random_pairs(args.segments, args.frames, rng), args.frames)
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    rough = torch.rand(len(batch.mel), 1, 1, generator=noise) < ROUGH_SHARE
    mel = torch.where(rough, roughen(batch.mel, noise), batch.mel)
    return Batch(mel, batch.phones, batch.valid)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.content", description=__doc__)
    add_arguments(parser, steps=12_000, rate=1e-3, segments=8)
    parser.add_argument("--frames", type=int, default=125, help="20 ms frames a segment")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--right-frames", type=int, default=3, help="look-ahead, 20 ms each")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    names = json.loads((args.root / "features/phones.json").read_text("utf-8"))
    libraries = {
        kind: Library(args.root / "features" / kind, ARRAYS) for kind in ("synthetic", "real")
    }
    for library in libraries.values():
        library.refresh()
    torch.manual_seed(args.seed)
    config = ContentConfig(len(names), args.width, args.blocks, right_frames=args.right_frames)
    network = ContentEncoder(config).to(device)
    settings = {"config": asdict(config), "steps": args.steps, "seed": args.seed, "phones": names}
    run = Run(args.out or args.root / "content", network, args, settings, "content")

    def step_losses(step: int) -> dict[str, Tensor]:
        batch = train_batch(libraries, args, step).to(device)
        with half_precision(device):
            answer = network(batch.mel)
        return losses(answer.float(), batch, network.delay_frames)

    def figures() -> dict[str, float]:
        for library in libraries.values():
            library.refresh()
        found = evaluate(run.averaged(ContentEncoder), libraries["synthetic"], device)
        return {**found, "hours": libraries["synthetic"].hours}

    run.train(step_losses, figures)


if __name__ == "__main__":
    main()
