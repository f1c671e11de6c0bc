"""The stages of training, at toy size: each runs, resumes, and hands on what the next reads."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fast_vc_service.models.nano import spectrum
from fast_vc_service.models.nano.converter import NanoConverter
from fast_vc_service.models.nano.load import WEIGHTS, load_acoustic, load_networks
from training import (
    acoustic,
    checkpoint,
    content,
    curves,
    embeddings,
    loop,
    melody,
    memory_content,
    packing,
    ship,
    vocoder,
)
from training import teacher as teaching
from training.schedule import rate_at

SMALL = ["--width", "24", "--blocks", "3", "--right-frames", "3", "--frames", "40"]


@pytest.fixture
def packed(root: Path, teacher: Path) -> Path:
    """Packed speech with the teacher's features; ``teacher`` is the same folder."""
    for kind in ("synthetic", "real"):
        packing.run(root, kind, 1)
    teaching.main(["--root", str(teacher)])
    return root


def train_content(root: Path, out: Path, steps: int, *more: str) -> None:
    where = ["--root", str(root), "--out", str(out), "--steps", str(steps), "--segments", "2"]
    content.main([*where, *SMALL, *more])


def train_acoustic(root: Path, *more: str) -> Path:
    """Two steps of the acoustic model and the content encoder beside it; its folder."""
    where = ["--root", str(root)]
    train_content(root, root / "content", 2)
    embeddings.main(where)
    memory_content.main(where)
    acoustic.main([*where, "--steps", "2", "--segments", "2", *more])
    return root / "acoustic"


def test_the_whole_recipe_makes_a_converter(packed: Path, tmp_path: Path) -> None:
    where = ["--root", str(packed)]
    few = [*where, "--steps", "2", "--segments", "2"]
    melody.main(few)
    vocoder.main(few)
    train_acoustic(packed)
    target = tmp_path / "weights"
    ship.main([*where, "--campplus", str(WEIGHTS / "campplus.safetensors"), "--to", str(target)])
    converter = NanoConverter(load_networks(target, torch.device("cpu")))
    time = np.arange(48_000) / 16_000
    wave = 0.1 * np.sign(np.sin(2 * np.pi * 150 * time)).astype(np.float32)
    state = converter.new_state(converter.make_voice("x", wave, 16_000))
    for _ in range(4):
        out = converter.step(wave[None, : converter.block], [state])
    assert np.isfinite(out).all()
    for stage in ("content", "melody", "vocoder", "acoustic"):
        records = curves.load(packed / stage / "curves.jsonl")
        assert records[-1]["step"] == 2
        assert all(math.isfinite(value) for value in records[-1].values())


def test_training_lowers_the_error_and_draws_it(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PRINT_EVERY", 20)
    monkeypatch.setattr(loop, "WARMUP", 5)
    out = tmp_path / "run"
    train_content(packed, out, 60)
    records = curves.load(out / "curves.jsonl")
    assert records[2]["content"] < 0.9 * records[0]["content"]
    assert {"unseen_clean", "unseen_degraded", "synthetic_clean"} <= records[-1].keys()
    assert (out / "curves.png").is_file()


def test_an_interrupted_run_ends_as_if_it_had_not_been(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 2)
    train_content(packed, tmp_path / "whole", 4)
    perturbed, calls = content.perturbed, []

    def failing(mel: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return perturbed(mel, rng)

    monkeypatch.setattr(content, "perturbed", failing)
    with pytest.raises(KeyboardInterrupt):
        train_content(packed, tmp_path / "cut", 4)
    monkeypatch.setattr(content, "perturbed", perturbed)
    train_content(packed, tmp_path / "cut", 4)
    whole, cut = (load_file(tmp_path / name / "content.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_run_can_start_from_shipped_weights(packed: Path, tmp_path: Path) -> None:
    train_content(packed, tmp_path / "one", 2)
    weights = tmp_path / "half.safetensors"
    ship.halve(tmp_path / "one/content.safetensors", weights)
    train_content(packed, tmp_path / "two", 1, "--rate", "0", "--start", str(weights))
    one, two = (load_file(tmp_path / name / "content.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=2e-3) for name in one)


def test_a_run_stands_still_while_somebody_measures(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = tmp_path / "pause"
    pause.touch()
    waited = []

    def pass_time(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            pause.unlink()

    monkeypatch.setattr(loop.time, "sleep", pass_time)
    train_content(packed, tmp_path / "run", 1, "--pause-file", str(pause))
    assert len(waited) == 3


def test_the_error_counts_only_frames_that_count() -> None:
    wanted = torch.zeros(1, 4, 3)
    made = torch.tensor([0.0, 1.0, 2.0, 50.0])[None, :, None].expand(1, 4, 3)
    counts = torch.tensor([[True, True, True, False]])
    error = content.squared_error(made, wanted, counts, torch.tensor([1.0, 1.0, 1.0]))
    assert float(error) == pytest.approx(5 / 3)
    assert float(content.squared_error(made, wanted, counts, torch.full((3,), 2.0))) == (
        pytest.approx(5 / 6)
    )


def test_what_training_learns_beside_weights_is_exported(tmp_path: Path) -> None:
    """The running deviation of the detail is a buffer; once it stayed at its first value."""
    network = acoustic.Acoustic(acoustic.AcousticConfig(width=24, blocks=2, flow_blocks=1))
    average = checkpoint.Average(network)
    with torch.no_grad():
        network.detail.fill_(0.7)
    average.update(network, 1)
    settings = {"config": {**vars(network.config)}}
    checkpoint.export(tmp_path / "a.safetensors", average.network, settings)
    assert torch.allclose(load_acoustic(tmp_path / "a.safetensors").detail, torch.tensor(0.7))


def test_a_shipped_file_that_is_not_the_averaged_network_is_refused(
    packed: Path, tmp_path: Path
) -> None:
    folder = train_acoustic(packed)
    shipped = tmp_path / "content.safetensors"
    ship.halve(folder / "content.safetensors", shipped)
    ship.compare("content", shipped, folder / "checkpoint.pt")
    tensors = load_file(shipped)
    tensors["norm.bias"] += 1.0
    _rewrite(shipped, tensors)
    with pytest.raises(ship.ShippedWrongError, match=r"norm\.bias"):
        ship.compare("content", shipped, folder / "checkpoint.pt")


def _rewrite(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    import safetensors

    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata)


@pytest.mark.parametrize("alone", [0, 1])
def test_content_encoder_and_generator_learn_in_their_time(
    packed: Path, monkeypatch: pytest.MonkeyPatch, alone: int
) -> None:
    """The encoder of sources learns from the first step; the generator once it can be judged."""
    monkeypatch.setattr(acoustic, "JUDGES_ALONE", 100 * alone)
    folder = train_acoustic(packed, "--rate", "0.1")
    before = load_file(packed / "content/content.safetensors")
    after = load_file(folder / "content.safetensors")
    assert not torch.equal(before["stem.weight"], after["stem.weight"])
    # It begins as zeros, and only what is judged moves it.
    made = load_file(folder / "acoustic.safetensors")["flow.out.weight"]
    assert bool(made.any()) is not bool(alone)


def test_a_warp_of_each_band_is_that_of_the_whole_where_all_are_alike() -> None:
    mel = torch.randn(2, 6, spectrum.MELS, generator=torch.Generator().manual_seed(2))
    whole = torch.tensor([0.8, 1.2])
    each = whole[:, None].expand(2, spectrum.MELS)
    assert torch.equal(spectrum.warp(mel, whole), spectrum.warp(mel, each))


def test_the_rate_warms_up_and_falls() -> None:
    rates = [rate_at(step, 100, 1.0, 10) for step in range(101)]
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.01)
