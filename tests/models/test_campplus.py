from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from fast_vc_service.audio.fbank import kaldi_fbank
from fast_vc_service.models.campplus import MIN_SAMPLES, TABLE, CampPlus, load_campplus
from fast_vc_service.models.checkpoint import CheckpointError
from tests.golden import build


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, torch.Tensor]:
    """Named as in the published file, which has counters too."""
    renamed = {
        f"xvector.{name}" if name.startswith("dense.") else name: tensor
        for name, tensor in build.published("campplus").items()
    }
    return renamed | {"head.bn1.num_batches_tracked": torch.tensor(7)}


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    return torch.randn(24_000, generator=torch.Generator().manual_seed(3)) * 0.1


def test_the_published_pickle_and_safetensors_load_alike(
    tmp_path: Path, checkpoint: dict[str, torch.Tensor], speech: torch.Tensor
) -> None:
    torch.save(checkpoint, tmp_path / "campplus.bin")
    safetensors.torch.save_file(checkpoint, tmp_path / "campplus.safetensors")
    embeddings = [
        load_campplus(tmp_path / name).embed(speech)
        for name in ("campplus.bin", "campplus.safetensors")
    ]
    direct = build.filled(CampPlus(), "campplus", TABLE).embed(speech)
    assert torch.equal(embeddings[0], direct)
    assert torch.equal(embeddings[1], direct)
    assert direct.shape == (192,)


def test_a_half_precision_file_gives_nearly_the_same_voice(
    tmp_path: Path, checkpoint: dict[str, torch.Tensor], speech: torch.Tensor
) -> None:
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in checkpoint.items()
    }
    safetensors.torch.save_file(half, tmp_path / "half.safetensors")
    loaded = load_campplus(tmp_path / "half.safetensors")
    assert loaded.embedding[0].weight.dtype == torch.float32
    whole = build.filled(CampPlus(), "campplus", TABLE).embed(speech)
    likeness = torch.cosine_similarity(loaded.embed(speech), whole, dim=0)
    assert float(likeness) > 0.9999


def test_a_clip_too_short_for_statistics_is_refused(speech: torch.Tensor) -> None:
    network = CampPlus().eval()
    assert torch.isfinite(network.embed(speech[:MIN_SAMPLES])).all()
    with pytest.raises(ValueError, match="at least 720 samples"):
        network.embed(speech[: MIN_SAMPLES - 1])
    with pytest.raises(ValueError, match=r"got \[1, 24000\]"):
        network.embed(speech[None])


def test_fbank_counts_frames_as_kaldi_does() -> None:
    assert kaldi_fbank(torch.zeros(400)).shape == (1, 80)
    assert kaldi_fbank(torch.zeros(559)).shape == (1, 80)
    assert kaldi_fbank(torch.zeros(560)).shape == (2, 80)
    with pytest.raises(ValueError, match="at least 400"):
        kaldi_fbank(torch.zeros(399))


def test_what_is_missing_or_has_another_shape_is_named(
    tmp_path: Path, checkpoint: dict[str, torch.Tensor]
) -> None:
    missing = {k: v for k, v in checkpoint.items() if k != "xvector.dense.linear.weight"}
    torch.save(missing, tmp_path / "missing.bin")
    with pytest.raises(CheckpointError, match=r"1 of \d+ entries are missing: embedding\.0"):
        load_campplus(tmp_path / "missing.bin")
    wrong = checkpoint | {"head.conv1.weight": torch.zeros(32, 1, 5, 5)}
    torch.save(wrong, tmp_path / "wrong.bin")
    with pytest.raises(CheckpointError, match=r"is \[32, 1, 5, 5\], expected \[32, 1, 3, 3\]"):
        load_campplus(tmp_path / "wrong.bin")
