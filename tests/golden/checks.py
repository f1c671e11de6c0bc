"""One check for each golden vector file, by the file's stem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fast_vc_service.audio.fbank import kaldi_fbank
from fast_vc_service.models import campplus
from tests.golden import build
from tests.golden.compare import Comparison, close

Vectors = dict[str, Any]
Check = Callable[[Vectors, Path], Iterator[Comparison]]
"""Compares what our code makes of the inputs; the folder may hold real weights."""


def read(path: Path) -> Vectors:
    """Read a vector file: tensors, or plain numbers where there is but one."""
    with np.load(path) as file:
        return {
            key: torch.from_numpy(file[key]) if file[key].ndim else file[key].item()
            for key in file.files
        }


def check_campplus(v: Vectors, folder: Path) -> Iterator[Comparison]:
    fbank = kaldi_fbank(v["audio_16k"])
    yield close("fbank", fbank, v["fbank"], 1e-2, median=1e-5)
    yield close("fbank_centered", fbank - fbank.mean(0), v["fbank_centered"], 1e-2, median=1e-5)
    network = build.filled(campplus.CampPlus(), "campplus", campplus.TABLE)
    features = v["fbank_centered"][None]
    yield close(
        "embedding_first_150_frames",
        network(features[:, :150]),
        v["embedding_first_150_frames"],
        1e-5,
    )
    caught = build.outputs(network, "head", "tdnn", "blocks.0.0", "transitions.2", "embedding")
    statistics = _inputs(network.embedding)
    embedding = network(features)
    yield close("head_frames_0_8", caught["head"][0, :, :8], v["head_frames_0_8"], 1e-4)
    yield close("tdnn_frames_0_8", caught["tdnn"][0, :, :8], v["tdnn_frames_0_8"], 1e-4)
    new = caught["blocks.0.0"][0, -32:, ::8]
    yield close("block1_tdnnd1", new, v["block1_tdnnd1"], 1e-4)
    yield close(
        "transit3_frames_0_8", caught["transitions.2"][0, :, :8], v["transit3_frames_0_8"], 1e-4
    )
    yield close("stats", statistics[0][:, :, 0], v["stats"], 1e-4)
    yield close("embedding", embedding, v["embedding"], 1e-5)

    real = _real_campplus(folder)
    if real is not None:
        statistics = _inputs(real.embedding)
        first = real(features[:, :150])
        name = "real_weights_embedding_first_150_frames"
        yield close(name, first, v[name], 1e-3)
        yield close("real_weights_embedding", real(features), v["real_weights_embedding"], 1e-3)
        yield close("real_weights_stats", statistics[-1][:, :, 0], v["real_weights_stats"], 1e-3)


def _inputs(module: torch.nn.Module) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    return seen


@cache
def _real_campplus(folder: Path) -> campplus.CampPlus | None:
    """CAM++ with its published weights, where they lie beside the vectors or in checkpoints/."""
    for place in (folder, folder.parent / "weights", Path("checkpoints")):
        for suffix in (".safetensors", ".bin"):
            path = place / f"campplus_cn_common{suffix}"
            if path.is_file():
                return campplus.load_campplus(path)
    return None


CHECKS: dict[str, Check] = {
    "campplus": check_campplus,
}
