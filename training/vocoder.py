"""``python -m training.vocoder``: train the vocoder to speak from envelope, F0 and voicing.

No adversary: the excitation already has the fine structure, the network only shapes filters, and
spectra at several resolutions tell it how.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fast_vc_service.models.nano.envelope import HOP_SAMPLES
from fast_vc_service.models.nano.excitation import noise
from fast_vc_service.models.nano.vocoder import Vocoder, VocoderConfig
from training.loop import Run, add_arguments
from training.packed_speech import Library, Speech
from training.precision import half_precision

ARRAYS = ("f0", "voicing", "envelope", "audio")
RESOLUTIONS = ((2048, 480), (1024, 240), (512, 120), (192, 48))
FRAMES = 80
"""Frames of 10 ms a segment; the first WARM are only there to fill the network's past."""

WARM = 20


def _log_magnitude(sound: Tensor, size: int, hop: int) -> tuple[Tensor, Tensor]:
    window = torch.hann_window(size, device=sound.device)
    spectrum = torch.stft(sound, size, hop, window=window, return_complex=True) / window.sum()
    magnitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-10)
    return magnitude, torch.log(magnitude + 1e-5)


def spectral_loss(made: Tensor, true: Tensor) -> Tensor:
    """Mean over resolutions: log magnitudes apart, and magnitudes apart over the true ones."""
    total = made.new_zeros(())
    for size, hop in RESOLUTIONS:
        (a, log_a), (b, log_b) = _log_magnitude(made, size, hop), _log_magnitude(true, size, hop)
        total = total + functional.l1_loss(log_a, log_b) + (a - b).abs().mean() / b.mean()
    return total / len(RESOLUTIONS)


def loss(network: Vocoder, batch: Speech, hiss: Tensor) -> Tensor:
    """Loss of one batch of segments."""
    voicing = batch.voicing.clamp(min=0).float()
    with half_precision(batch.envelope.device):
        made = network(batch.envelope, batch.f0, voicing, hiss)
    start = WARM * HOP_SAMPLES
    return spectral_loss(made[:, start:], batch.audio[:, start:])


def draw(library: Library, segments: int, seed: int, step: int) -> tuple[Speech, Tensor]:
    """The batch of one step, at random levels, and its noise."""
    rng = np.random.default_rng([seed, step])
    batch = library.speech("train", segments, FRAMES, rng)
    gain = torch.from_numpy(rng.uniform(-1.5, 0.7, segments).astype(np.float32))
    batch = batch.louder(gain)
    first = int(rng.integers(1 << 30))
    return batch, noise(seed, first, segments * FRAMES).reshape(segments, -1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.vocoder", description=__doc__)
    add_arguments(parser, steps=6000, rate=1e-3, segments=16)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    root: Path = args.root
    out: Path = args.out or root / "vocoder"
    device = torch.device(args.device)
    library = Library(root / "features/synthetic", ARRAYS)
    library.refresh()
    torch.manual_seed(args.seed)
    config = VocoderConfig()
    network = Vocoder(config).to(device)
    settings = {"config": asdict(config), "steps": args.steps, "seed": args.seed}
    run = Run(out, network, args, exports={"vocoder": json.loads(json.dumps(settings))})
    held_out = [draw_valid(library, number) for number in range(4)]

    def step_loss(step: int) -> dict[str, Tensor]:
        batch, hiss = draw(library, args.segments, args.seed, step)
        return {"spectral": loss(network, batch.to(device), hiss.to(device))}

    def evaluate() -> dict[str, float]:
        library.refresh()
        with torch.no_grad():
            values = [
                loss(run.averaged("vocoder", Vocoder), batch.to(device), hiss.to(device)).item()
                for batch, hiss in held_out
            ]
        return {"valid_spectral": float(np.mean(values)), "hours": library.hours}

    run.train(step_loss, evaluate)


def draw_valid(library: Library, number: int) -> tuple[Speech, Tensor]:
    """A fixed batch of held-out voices and texts."""
    batch = library.speech("eval", 16, FRAMES, np.random.default_rng([7, number]))
    return batch, noise(7, number, 16 * FRAMES).reshape(16, -1)


if __name__ == "__main__":
    main()
