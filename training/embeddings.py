"""``python -m training.embeddings``: the speaker embedding of all clean speech, computed once.

For each shard of ``features/KIND`` a file of the same name in ``embeddings/KIND`` with
``embeddings`` [V, 192] float32 of CAM++; that of a degraded view is its clean original's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from fast_vc_service.models.campplus import CampPlus, load_campplus
from fast_vc_service.models.nano.load import WEIGHTS
from training.derived import derive_all
from training.paths import DEFAULT_ROOT

TARGET_HZ, SAMPLE_RATE_HZ = 24_000, 16_000
TARGET_FRAME_SAMPLES = 480
LONGEST_S = 8.0


def embeddings_of(
    views: NDArray[np.int64], audio: NDArray[np.int16], speaker: CampPlus
) -> NDArray[np.float32]:
    """[V, 192] of a shard's views, from the first LONGEST_S of each clip.

    Args:
        views: rows of (clip, first frame, frames, degraded, first frame of the target).
        audio: [480 * targets] at 24 kHz.
        speaker: CAM++.
    """
    rows: list[NDArray[np.float32]] = []
    for _clip, _first, frames, degraded, target in views.tolist():
        if degraded:
            rows.append(rows[-1])
            continue
        last = target + min(frames, int(LONGEST_S * 50))
        cut = audio[TARGET_FRAME_SAMPLES * target : TARGET_FRAME_SAMPLES * last]
        heard = soxr.resample(cut.astype(np.float32) / 32767, TARGET_HZ, SAMPLE_RATE_HZ)
        embedding = speaker.embed(torch.from_numpy(heard.astype(np.float32)))
        rows.append(np.asarray(embedding, np.float32).reshape(-1))
    return np.stack(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.embeddings", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--campplus", type=Path, default=WEIGHTS / "campplus.safetensors")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    speaker = load_campplus(args.campplus)
    derive_all(
        args.root,
        lambda kind: args.root / "embeddings" / kind,
        "embeddings",
        lambda shard: embeddings_of(shard["views"], shard["audio"], speaker),
    )


if __name__ == "__main__":
    main()
