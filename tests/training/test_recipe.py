"""The stages of training, at toy size: each runs, resumes, and hands on what the next reads."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fast_vc_service.models.nano.content import ContentConfig, ContentEncoder, ContentFrames
from fast_vc_service.models.nano.converter import NanoConverter
from fast_vc_service.models.nano.load import WEIGHTS, load_networks
from fast_vc_service.models.nano.spectrum import MELS
from training import acoustic, content, curves, features, inputs, loop, melody, ship, vocoder
from training.batches import Batch
from training.phones import IGNORED
from training.schedule import rate_at

SMALL = ["--width", "24", "--blocks", "2", "--right-frames", "3", "--frames", "40"]


@pytest.fixture
def packed(root: Path) -> Path:
    for kind in ("synthetic", "real"):
        features.run(root, kind, 1)
    return root


def train_content(root: Path, out: Path, steps: int) -> None:
    where = ["--root", str(root), "--out", str(out), "--steps", str(steps), "--segments", "2"]
    content.main([*where, *SMALL])


def test_the_whole_recipe_makes_a_converter(packed: Path, tmp_path: Path) -> None:
    where = ["--root", str(packed)]
    few = [*where, "--steps", "2", "--segments", "2"]
    train_content(packed, packed / "content", 2)
    melody.main(few)
    vocoder.main(few)
    inputs.main([*where, "--campplus", str(WEIGHTS / "campplus.safetensors")])
    acoustic.main(few)
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


def test_training_lowers_the_loss_and_draws_it(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PRINT_EVERY", 20)
    monkeypatch.setattr(loop, "WARMUP", 5)
    out = tmp_path / "run"
    train_content(packed, out, 60)
    records = curves.load(out / "curves.jsonl")
    assert records[2]["phone"] < 0.9 * records[0]["phone"]
    assert (out / "curves.png").is_file()


def test_an_interrupted_run_ends_as_if_it_had_not_been(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 2)
    train_content(packed, tmp_path / "whole", 4)
    losses = content.losses
    calls = []

    def failing(answer: ContentFrames, batch: Batch, edge: int) -> dict[str, Tensor]:
        calls.append(edge)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return losses(answer, batch, edge)

    monkeypatch.setattr(content, "losses", failing)
    with pytest.raises(KeyboardInterrupt):
        train_content(packed, tmp_path / "cut", 4)
    monkeypatch.setattr(content, "losses", losses)
    train_content(packed, tmp_path / "cut", 4)
    whole, cut = (load_file(tmp_path / name / "content.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_run_can_start_from_shipped_weights(packed: Path, tmp_path: Path) -> None:
    train_content(packed, tmp_path / "one", 2)
    weights = tmp_path / "half.safetensors"
    ship.halve(tmp_path / "one/content.safetensors", weights)
    where = ["--root", str(packed), "--out", str(tmp_path / "two"), "--segments", "2"]
    content.main([*where, "--steps", "1", "--rate", "0", "--start", str(weights), *SMALL])
    one, two = (load_file(tmp_path / name / "content.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=2e-3) for name in one)


def test_losses_take_no_notice_of_what_is_not_labelled() -> None:
    torch.manual_seed(0)
    network = ContentEncoder(ContentConfig(3, width=24, blocks=2, right_frames=1)).eval()
    mel = torch.randn(2, 20, MELS)
    batch = Batch(mel, torch.ones(2, 10, dtype=torch.long), torch.ones(2, 10, dtype=torch.bool))
    phones = batch.phones.clone()
    phones[:, 3:] = IGNORED
    with torch.no_grad():
        answer = network(mel)
    part = content.losses(answer, Batch(mel, phones, batch.valid), 1)
    short = content.losses(
        ContentFrames(answer.bottleneck, answer.phones[:, :3]),
        Batch(mel, phones[:, :3], batch.valid),
        0,
    )
    assert torch.allclose(part["phone"], short["phone"])
    assert float(part["phone"]) != float(content.losses(answer, batch, 1)["phone"])


def test_a_right_answer_counts_as_right() -> None:
    batch = Batch(
        torch.zeros(2, 20, MELS),
        torch.tensor([[1] * 8 + [IGNORED] * 2] * 2),
        torch.ones(2, 10, dtype=torch.bool),
    )
    answer = ContentFrames(torch.zeros(2, 10, 8), torch.tensor([0.0, 9.0, 0.0]).repeat(2, 10, 1))
    assert content.measure(answer, batch) == (16.0, 16.0)


def test_the_rate_warms_up_and_falls() -> None:
    rates = [rate_at(step, 100, 1.0, 10) for step in range(101)]
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.01)
