"""``python -m training.acoustic``: train the acoustic model against a discriminator and a reader.

The trunk predicts the mean envelope; the flow network is a generator of the detail, one step from
zero noise. The source is heard as the service hears it, through another vocal tract and another
colour at each step where it is the target's own recording. The content encoder of sources learns
too: what the acoustic model needs to say the words, near to what the teacher hears. That of
references, whose frames lie stored, stays as it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.models.nano.acoustic import (
    SPREAD,
    Acoustic,
    AcousticConfig,
    Prepared,
    Speaker,
    euler_times,
    restore,
    source_features,
    speaker_vector,
)
from fast_vc_service.models.nano.content import ContentEncoder
from fast_vc_service.models.nano.load import load_content
from fast_vc_service.models.nano.spectrum import MELS, frame_energy, warp
from training.adversary import Discriminator, crops, discriminator_loss, generator_losses
from training.content import squared_error
from training.conversion_batches import AHEAD, BEFORE, Conversions, Speakers
from training.loop import Run, add_arguments
from training.memory_content import version_of
from training.precision import half_precision
from training.reader import Reader

FRAMES = 125
"""Frames of 20 ms a segment."""

DELTA_WEIGHT, RESULT_WEIGHT, ADVERSARY_WEIGHT, MATCHING_WEIGHT = 0.5, 1.0, 0.25, 0.5
CONTENT_WEIGHT = 0.1
READING_WEIGHT = 0.5
JUDGES_ALONE, JUDGES_WARMUP = 250, 250
"""Steps in which discriminator and reader learn alone, then those in which their weight grows."""

SYNTHETIC_SHARE = 0.4
VARIANCE_SEGMENTS = 400
STYLE_NOISE = 0.1
WARP = (0.06, 0.28)
"""Least and largest logarithm of what the frequencies of a lone source are stretched by."""

PARALLEL_WARP = 0.12
BENT, BENDS = 0.05, 5
"""Deviation of the logarithm of each stretch around that, at so many places of the spectrum."""

TILT, LEVEL = 0.5, 0.4


@dataclass(frozen=True)
class Heard:
    """Sources as the acoustic model hears them.

    Attributes:
        content: [B, T, 96], on which gradients may be; cues: [B, T, CUES].
        envelope: [B, 2 T, BANDS] of the target, moved to the level that was heard.
    """

    content: Tensor
    cues: Tensor
    envelope: Tensor


def perturbed(batch: Conversions, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Log-mel of the sources in other vocal tracts and colours, and their change of level [B, 1].

    A lone source is always moved by at least ``WARP[0]``, so that its voice is not the target's.
    """
    rows, device = len(batch.mel), batch.mel.device
    size = WARP[0] + (WARP[1] - WARP[0]) * torch.rand(rows, generator=rng)
    sign = torch.where(torch.rand(rows, generator=rng) < 0.5, -1.0, 1.0)
    little = PARALLEL_WARP * (2 * torch.rand(rows, generator=rng) - 1)
    bends = functional.interpolate(
        BENT * torch.randn(rows, 1, BENDS, generator=rng), MELS, mode="linear", align_corners=True
    )
    factor = torch.exp(torch.where(batch.lone.cpu(), size * sign, little)[:, None] + bends[:, 0])
    points = TILT * (2 * torch.rand(rows, 1, 5, generator=rng) - 1)
    tilt = functional.interpolate(points, MELS, mode="linear", align_corners=True).to(device)
    level = (LEVEL * torch.randn(rows, 1, generator=rng)).to(device)
    return warp(batch.mel, factor.to(device)) + tilt + level[..., None], level


def hear(
    encoder: ContentEncoder, batch: Conversions, mel: Tensor, level: Tensor | None = None
) -> Heard:
    """What reaches the acoustic model of sources ``mel``; ``level`` [B, 1] is how much louder."""
    frames = batch.valid.shape[1]
    with half_precision(mel.device):
        content = encoder(mel).bottleneck.float()[:, BEFORE : BEFORE + frames]
    energy = frame_energy(mel[:, 2 * BEFORE : mel.shape[1] - 2 * AHEAD]) - batch.level[:, None]
    envelope = batch.envelope if level is None else batch.envelope + level[..., None] / SPREAD
    return Heard(content, source_features(energy, batch.f0, batch.voicing), envelope)


def prepare(
    network: Acoustic, batch: Conversions, noise: Callable[[Tensor], Tensor], steps: int = 1
) -> tuple[Prepared, Tensor]:
    """The speakers of a batch and their vectors, which ``noise`` roughens; for 0 or 1 ``steps``."""
    vector = noise(speaker_vector(batch.embedding, batch.memory_envelope, batch.memory_mask))
    speaker = Speaker(vector, batch.memory_content, batch.memory_envelope, batch.memory_mask)
    return network.prepare(speaker, euler_times(steps, len(vector), vector.device)), vector


class Trainer:
    """The losses of both sides.

    Args:
        network: what is trained.
        encoder: trained with it.
        variance: [96], of what the teacher hears.
        rate: of the discriminator and the reader.
    """

    def __init__(
        self, network: Acoustic, encoder: ContentEncoder, variance: Tensor, rate: float
    ) -> None:
        device = next(network.parameters()).device
        self._network, self._encoder, self._variance = network, encoder, variance.to(device)
        self.judges = nn.ModuleDict({"discriminator": Discriminator(), "reader": Reader()})
        self.judges.to(device)
        self.optimiser = torch.optim.AdamW(
            self.judges.parameters(), rate, betas=(0.8, 0.98), weight_decay=0.01
        )

    def losses(self, batch: Conversions, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """Weighted parts of the network's loss; the judges make their step here."""
        network, device = self._network, batch.mel.device
        rows, frames = batch.valid.shape
        mel, level = perturbed(batch, rng)
        heard = hear(self._encoder, batch, mel, level)

        def roughened(vector: Tensor) -> Tensor:
            return vector + STYLE_NOISE * torch.randn(vector.shape, generator=rng).to(device)

        target = heard.envelope.reshape(rows, frames, -1)
        weight = batch.valid[..., None] * batch.bands.repeat(1, 2)[:, None]
        with half_precision(device):
            speaker, vector = prepare(network, batch, roughened)
            state = network.new_state(rows, 1, device)
            h, mean, _ = network.trunk(heard.content, heard.cues, speaker, state)
            alone = step < JUDGES_ALONE
            with torch.set_grad_enabled(not alone):
                velocity, _ = network.flow.stream(
                    torch.zeros_like(target), h, speaker.flow[0], state.flow[0]
                )
        mean, velocity = mean.float(), velocity.float()
        with torch.no_grad():
            spread = ((target - mean) * weight).square().sum((0, 1))
            spread = torch.sqrt(spread / weight.sum((0, 1)).clamp(min=1) + 1e-4)
            network.detail.lerp_(spread, 0.01)
        made = mean + network.detail * velocity
        count = weight.sum().clamp(min=1)
        both = weight.reshape(rows, 2 * frames, -1)[:, 1:]
        change = (mean - target).reshape(rows, 2 * frames, -1).diff(dim=1)
        adversary, matching, misread = self._judge(made, target, batch, vector.detach(), rng)
        apart = squared_error(heard.content, batch.teacher, batch.counts, self._variance)
        learned = {
            "mean": ((mean - target).abs() * weight).sum() / count,
            "change": DELTA_WEIGHT * (change.abs() * both).sum() / both.sum().clamp(min=1),
            "content": CONTENT_WEIGHT * apart,
        }
        if alone:
            # Before it can judge, it would only let the generator be smoothed.
            return learned
        share = min(1.0, (step - JUDGES_ALONE) / JUDGES_WARMUP)
        return learned | {
            "result": share * RESULT_WEIGHT * ((made - target).abs() * weight).sum() / count,
            "adversary": share * ADVERSARY_WEIGHT * adversary,
            "matching": share * MATCHING_WEIGHT * matching,
            "reading": share * READING_WEIGHT * misread,
        }

    def _judge(
        self, made: Tensor, target: Tensor, batch: Conversions, vector: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step of the judges, then their verdicts with gradients for what was made."""
        valid, counts = batch.valid, batch.counts & batch.valid
        ours, theirs = (each.reshape(len(each), 2 * valid.shape[1], -1) for each in (made, target))
        false, true = crops([ours, theirs], valid, rng)
        judge, reader = self.judges["discriminator"], self.judges["reader"]
        self.judges.requires_grad_(requires_grad=True)
        with half_precision(made.device):
            scores = judge(true, vector)[0].float(), judge(false.detach(), vector)[0].float()
            read = reader(theirs).float()
        unread = squared_error(read, batch.teacher, counts, self._variance)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(discriminator_loss(*scores) + unread)
        self.optimiser.step()
        self.judges.requires_grad_(requires_grad=False)
        with half_precision(made.device):
            verdict, real = judge(false, vector), judge(true, vector)
            read = reader(ours).float()
        misread = squared_error(read, batch.teacher, counts, self._variance)
        return *generator_losses(verdict, real), misread


@torch.no_grad()
def measure(
    network: Acoustic, encoder: ContentEncoder, batch: Conversions, steps: int
) -> dict[str, float]:
    """Distances in dB between made and true envelopes, with no detail or all of it."""
    device = batch.mel.device
    rows, frames = batch.valid.shape
    mel, _ = perturbed(batch, torch.Generator().manual_seed(5))
    heard = hear(encoder, batch, mel)
    speaker, _ = prepare(network, batch, lambda vector: vector, steps)
    noise = torch.zeros(rows, frames, 2 * batch.envelope.shape[-1])
    made, _ = network.stream(
        heard.content, heard.cues, noise.to(device), speaker, network.new_state(rows, steps, device)
    )
    weight = batch.valid.repeat_interleave(2, 1)[..., None] * batch.bands[:, None]
    apart = ((made - restore(batch.envelope)).abs() * weight).sum() / weight.sum()
    return {f"db_{steps}": float(apart) * 8.686}


def variance_of(speakers: Speakers) -> Tensor:
    """Variance [96] of what the teacher hears in training speech."""
    batch = speakers.draw("train", VARIANCE_SEGMENTS, FRAMES, np.random.default_rng(7))
    return batch.teacher[batch.counts].var(0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.acoustic", description=__doc__)
    add_arguments(parser, steps=12_000, rate=5e-4, segments=16)
    parser.add_argument("--content", type=Path, help="default: ROOT/content/content.safetensors")
    parser.add_argument(
        "--content-start", type=Path, help="where that of sources starts, if not there"
    )
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    root: Path = args.root
    device = torch.device(args.device)
    weights: Path = args.content or root / "content/content.safetensors"
    version = version_of(weights)
    encoder = load_content(args.content_start or weights).to(device).requires_grad_()
    speakers = {kind: Speakers(root, kind, version) for kind in ("synthetic", "real")}
    for each in speakers.values():
        each.refresh()
    torch.manual_seed(args.seed)
    config = AcousticConfig(hears_mel=False, generator=True)
    network = Acoustic(config).to(device)
    trainer = Trainer(network, encoder, variance_of(speakers["real"]), args.rate)
    common = {"steps": args.steps, "seed": args.seed, "reader": version}
    run = Run(
        args.out or root / "acoustic",
        nn.ModuleDict({"acoustic": network, "content": encoder}),
        args,
        exports={
            "acoustic": {"config": asdict(config), **common},
            "content": {"config": asdict(encoder.config), **common},
        },
        beside={"judges": trainer.judges, "judges_optimiser": trainer.optimiser},
    )

    def step_losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([args.seed, step])
        there = {kind for kind, each in speakers.items() if each.clips("train")}
        synthetic = there == {"synthetic"} or (
            "synthetic" in there and rng.random() < SYNTHETIC_SHARE
        )
        chosen = speakers["synthetic" if synthetic else "real"]
        batch = chosen.draw("train", args.segments, FRAMES, rng).to(device)
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return trainer.losses(batch, noise, step)

    def evaluate() -> dict[str, float]:
        figures: dict[str, float] = {}
        for kind, split in (("synthetic", "eval"), ("real", "valid")):
            speakers[kind].refresh()
            if not speakers[kind].clips(split):
                continue
            batch = speakers[kind].draw(split, 32, FRAMES, np.random.default_rng(5)).to(device)
            for steps in (0, 1):
                found = measure(
                    run.averaged("acoustic", Acoustic),
                    run.averaged("content", ContentEncoder),
                    batch,
                    steps,
                )
                figures |= {f"{kind}_{name}": value for name, value in found.items()}
        return {**figures, "hours": sum(each.hours for each in speakers.values())}

    run.train(step_losses, evaluate)


if __name__ == "__main__":
    main()
