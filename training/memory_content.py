"""``python -m training.memory_content``: what a content encoder hears in all packed speech.

The acoustic model's memory of a reference holds the content of its frames. They are computed once
for each content encoder: for each shard of ``features/KIND`` a file of the same name in
``memory_content/KIND/VERSION`` with ``content`` [N / 2, 96] float16.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fast_vc_service.models.nano.content import ContentEncoder
from fast_vc_service.models.nano.load import load_content
from fast_vc_service.models.nano.spectrum import SILENCE
from training.derived import derive_all
from training.paths import DEFAULT_ROOT
from training.precision import half_precision

BATCH_FRAMES = 6000
ROUNDED_TO = 100
"""Lengths are padded to so many frames, as kernels are made anew for each; the encoder is causal
but for its look-ahead, which hears silence after the end."""


def version_of(weights: Path) -> str:
    """Names the folder: other weights give other content."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:12]


def _batches(views: NDArray[np.int64]) -> list[list[tuple[int, int]]]:
    """(first frame, frames) of all views, in groups of about BATCH_FRAMES and like lengths."""
    groups: list[list[tuple[int, int]]] = [[]]
    for first, frames in sorted(views[:, 1:3].tolist(), key=lambda each: each[1]):
        if groups[-1] and (len(groups[-1]) + 1) * frames > BATCH_FRAMES:
            groups.append([])
        groups[-1].append((first, frames))
    return groups


@torch.no_grad()
def content_of(
    views: NDArray[np.int64], mel: NDArray[np.float16], encoder: ContentEncoder
) -> NDArray[np.float16]:
    """[N / 2, 96] of a shard's views, whose log-mel frames are ``mel`` [N, MELS]."""
    device = next(encoder.parameters()).device
    content = np.zeros((len(mel) // 2, encoder.config.bottleneck), np.float16)
    for group in _batches(views):
        longest = group[-1][1] + encoder.delay_frames
        longest = -(-longest // ROUNDED_TO) * ROUNDED_TO
        padded = torch.full((len(group), 2 * longest, mel.shape[1]), SILENCE)
        for row, (first, frames) in enumerate(group):
            piece = mel[2 * first : 2 * (first + frames)].astype(np.float32)
            padded[row, : len(piece)] = torch.from_numpy(piece)
        with half_precision(device):
            heard = encoder(padded.to(device)).bottleneck.float().cpu().numpy()
        for row, (first, frames) in enumerate(group):
            content[first : first + frames] = heard[row, :frames].astype(np.float16)
    return content


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.memory_content", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--content", type=Path, help="default: ROOT/content/content.safetensors")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    weights: Path = args.content or args.root / "content/content.safetensors"
    encoder = load_content(weights).to(args.device)
    version = version_of(weights)
    derive_all(
        args.root,
        lambda kind: args.root / "memory_content" / kind / version,
        "content",
        lambda shard: content_of(shard["views"], shard["mel"], encoder),
    )


if __name__ == "__main__":
    main()
