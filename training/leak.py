"""``python -m training.leak``: how much of the voice is left in the content.

Prints how often the nearest of N unseen speakers is the right one, told from the mean content of a
clip alone. Colour, level and noise of each clip are drawn at random first, so that it is not the
recording that is recognised.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fast_vc_service.models.nano.content import ContentEncoder
from fast_vc_service.models.nano.load import load_content
from fast_vc_service.models.nano.spectrum import MELS, frame_energy
from training.packed_speech import Library
from training.paths import DEFAULT_ROOT

LOUD_BELOW_LEVEL = 4.0
TILT, NOISE_BELOW_LEVEL = 0.8, (2.0, 6.0)


@dataclass(frozen=True)
class Leak:
    """How often the right speaker was the nearest of ``speakers``, over ``clips``."""

    right: float
    speakers: int
    clips: int

    def __str__(self) -> str:
        return (
            f"the nearest of {self.speakers} unseen speakers is the right one for "
            f"{self.right:.1%} of {self.clips} clips (chance {1 / max(1, self.speakers):.1%})"
        )


def recoloured(mel: Tensor, level: float, rng: torch.Generator) -> Tensor:
    """Log-mel [T, MELS] with another colour and another background."""
    points = TILT * (2 * torch.rand(1, 1, 6, generator=rng) - 1)
    tilt = functional.interpolate(points, MELS, mode="linear", align_corners=True)[0, 0]
    low, high = NOISE_BELOW_LEVEL
    below = low + (high - low) * float(torch.rand((), generator=rng))
    noise = level - 2.0 - below + 0.4 * torch.randn(mel.shape, generator=rng)
    return 0.5 * torch.logaddexp(2 * (mel + tilt), 2 * noise)


@torch.no_grad()
def means(library: Library, encoder: ContentEncoder, seed: int) -> dict[str, Tensor]:
    """Mean content of the loud frames of each clip [clips, 96], by speaker; two clips or more."""
    rng = torch.Generator().manual_seed(seed)
    found: dict[str, list[Tensor]] = {}
    for clip in library.clips["valid"]:
        view = clip.views[0]
        mel = library.arrays(view.shard)["mel"][2 * view.first : 2 * (view.first + view.frames)]
        heard = torch.from_numpy(mel.astype(np.float32))
        loud = frame_energy(heard)[0::2] > view.level - LOUD_BELOW_LEVEL
        content = encoder(recoloured(heard, view.level, rng)[None]).bottleneck[0]
        found.setdefault(view.name, []).append(content[loud].mean(0))
    return {name: torch.stack(each) for name, each in found.items() if len(each) > 1}


def leak(found: dict[str, Tensor]) -> Leak:
    """Nearest mean over a speaker's other clips, in units of each dimension's deviation."""
    if len(found) < 2:
        return Leak(float("nan"), len(found), 0)
    spread = torch.cat(list(found.values())).std(0).clamp(min=1e-6)
    names = list(found)
    centres = torch.stack([found[name].mean(0) for name in names])
    right = clips = 0
    for number, name in enumerate(names):
        own = found[name]
        for row, clip in enumerate(own):
            others = torch.cat([own[:row], own[row + 1 :]]).mean(0)
            compared = centres.clone()
            compared[number] = others
            apart = ((compared - clip) / spread).square().sum(-1)
            right += int(apart.argmin()) == number
            clips += 1
    return Leak(right / clips, len(names), clips)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.leak", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--content", type=Path, help="default: ROOT/content/content.safetensors")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    library = Library(args.root / "features" / "real", ("mel",))
    library.refresh()
    encoder = load_content(args.content or args.root / "content/content.safetensors")
    print(leak(means(library, encoder, args.seed)))


if __name__ == "__main__":
    main()
