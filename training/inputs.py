"""``python -m training.inputs``: what the acoustic model hears, made once by finished networks.

The content encoder runs over every view, CAM++ too, so that each step of the acoustic training
costs only the acoustic model.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fast_vc_service.models.campplus import CampPlus, load_campplus
from fast_vc_service.models.nano.content import ContentEncoder
from fast_vc_service.models.nano.load import load_content
from fast_vc_service.models.nano.spectrum import SILENCE, frame_energy
from training.paths import DEFAULT_ROOT
from training.precision import half_precision

TARGET_HZ, SAMPLE_RATE_HZ = 24_000, 16_000


def inputs_of(
    shard: dict[str, NDArray[Any]], encoder: ContentEncoder, speaker: CampPlus
) -> dict[str, NDArray[Any]]:
    """``content`` [N / 2, 96] float16, ``energy`` [N] float16, ``embeddings`` [V, 192].

    The embedding of a degraded view is that of its clean original.
    """
    import soxr

    content, embeddings = [], []
    device = next(encoder.parameters()).device
    mel = torch.from_numpy(shard["mel"].astype(np.float32))
    for _clip, first, frames, degraded, target in shard["views"].tolist():
        piece = mel[2 * first : 2 * (first + frames)]
        # Few lengths: kernels are made anew for each. The encoder is causal but for its
        # look-ahead, which hears silence after the end.
        padded = torch.full((-(-frames // 100) * 200 + 20, piece.shape[1]), SILENCE)
        padded[: len(piece)] = piece
        with torch.no_grad(), half_precision(device):
            answer = encoder(padded[None].to(device))
        bottleneck = answer.bottleneck[0, :frames].float().cpu().numpy()
        content.append(bottleneck.astype(np.float16))
        if degraded:
            embeddings.append(embeddings[-1])
            continue
        audio = shard["audio"][480 * target : 480 * (target + frames)].astype(np.float32) / 32767
        heard = soxr.resample(audio, TARGET_HZ, SAMPLE_RATE_HZ)
        embedding = speaker.embed(torch.from_numpy(heard.astype(np.float32)))
        embeddings.append(np.asarray(embedding, np.float32).reshape(-1))
    return {
        "content": np.concatenate(content),
        "energy": frame_energy(mel).numpy().astype(np.float16),
        "embeddings": np.stack(embeddings),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.inputs", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--content", type=Path, help="default: ROOT/content/content.safetensors")
    parser.add_argument("--campplus", type=Path, required=True, help="weights of CAM++")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    weights: Path = args.content or args.root / "content/content.safetensors"
    encoder = load_content(weights).to(args.device)
    speaker = load_campplus(args.campplus)
    # Other weights give other inputs: never mix them.
    version = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    for kind in ("synthetic", "real"):
        for path in sorted((args.root / "features" / kind).glob("shard-*.npz")):
            out = args.root / "inputs" / kind / version / path.name
            if out.is_file() or ".partial" in path.name:
                continue
            started = time.monotonic()
            with np.load(path) as stored:
                shard = {name: stored[name] for name in ("mel", "views", "audio")}
            out.parent.mkdir(parents=True, exist_ok=True)
            partial = out.with_suffix(".partial.npz")
            np.savez(partial, **inputs_of(shard, encoder, speaker))  # type: ignore[arg-type]
            partial.replace(out)
            print(f"{kind}/{path.name}: {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
