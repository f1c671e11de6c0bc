from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fast_vc_service.models.nano.content import ContentConfig, ContentEncoder, f0_to_bin
from fast_vc_service.models.nano.spectrum import MELS
from training import content, curves
from training.batches import Batch, Library
from training.phones import IGNORED


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Noise whose lowest band tells the class: learnable in a few steps."""
    folder = tmp_path / "features/synthetic"
    folder.mkdir(parents=True)
    (tmp_path / "features/phones.json").write_text('["silence", "a", "s"]')
    rng = np.random.default_rng(0)
    clips, frames = 6, 80
    phones = np.repeat(rng.integers(0, 3, clips * 16), 5).astype(np.int16)
    phones = np.concatenate([np.tile(part, 4) for part in phones.reshape(clips, frames)])
    mel = rng.normal(-6, 0.5, (2 * len(phones), MELS)).astype(np.float16)
    mel[:, :20] += np.repeat(phones, 2)[:, None]
    views = [(number // 4, number * frames, frames, number % 2) for number in range(4 * clips)]
    np.savez(
        folder / "shard-00000.npz",
        mel=mel,
        f0=np.full(len(mel), 120.0, np.float32),
        voicing=np.ones(len(mel), np.int8),
        phones=phones,
        views=np.asarray(views),
        splits=np.asarray(["train"] * 5 + ["eval"]),
        sources=np.asarray(["es"] * clips),
    )
    return tmp_path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


SMALL = ContentConfig(phones=3, width=24, blocks=2, kernel=3, right_frames=1, bottleneck=8)


def schedule(steps: int) -> content.Schedule:
    return content.Schedule(steps, 4, 40, 3e-3, 0.0, 5, warmup=2)


def run(root: Path, out: Path, steps: int) -> None:
    content.run(root, out, SMALL, schedule(steps), torch.device("cpu"))


def test_training_lowers_the_loss_and_leaves_weights_and_curves(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(root, out, 100)
    records = curves.load(out / "curves.jsonl")
    assert records[1]["phone"] < records[0]["phone"]
    assert (out / "curves.png").is_file()
    network = ContentEncoder(SMALL)
    network.load_state_dict(load_file(out / "content.safetensors"))
    library = Library(root / "features/synthetic")
    library.refresh()
    figures = content.evaluate(network.eval(), {"synthetic": library}, torch.device("cpu"))
    assert figures["synthetic_clean_phone_accuracy"] > 0.5
    assert figures == {key: value for key, value in figures.items() if np.isfinite(value)}


def test_an_interrupted_run_ends_as_if_it_had_not_been(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SAVE_EVERY", 2)
    run(root, tmp_path / "whole", 4)
    batch_of = content.train_batch

    def failing(libraries: dict[str, Library], plan: content.Schedule, step: int) -> Batch:
        if step == 3:
            raise KeyboardInterrupt
        return batch_of(libraries, plan, step)

    monkeypatch.setattr(content, "train_batch", failing)
    with pytest.raises(KeyboardInterrupt):
        run(root, tmp_path / "cut", 4)
    monkeypatch.setattr(content, "train_batch", batch_of)
    run(root, tmp_path / "cut", 4)
    whole, cut = (load_file(tmp_path / name / "content.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_losses_take_no_notice_of_what_is_not_labelled() -> None:
    torch.manual_seed(0)
    network = ContentEncoder(SMALL).eval()
    mel = torch.randn(2, 20, MELS)
    base = Batch(
        mel,
        torch.full((2, 20), 200.0),
        torch.ones(2, 20, dtype=torch.long),
        torch.ones(2, 10, dtype=torch.long),
        torch.ones(2, 10, dtype=torch.bool),
    )
    voicing = base.voicing.clone()
    phones = base.phones.clone()
    phones[:, 3:] = IGNORED
    voicing[:, 6:] = -1
    with torch.no_grad():
        answer = network(mel)
    part = content.losses(answer, Batch(mel, base.f0, voicing, phones, base.valid), 1)
    wild = base.f0.clone()
    wild[:, 6:] = 700.0
    same = content.losses(answer, Batch(mel, wild, voicing, phones, base.valid), 1)
    assert all(torch.equal(part[name], same[name]) for name in part)
    assert float(part["phone"]) != float(content.losses(answer, base, 1)["phone"])


def test_a_perfect_answer_measures_as_perfect() -> None:
    f0 = torch.linspace(80, 400, 20).repeat(2, 1)
    bins = torch.arange(128)
    batch = Batch(
        torch.zeros(2, 20, MELS),
        f0,
        torch.ones(2, 20, dtype=torch.long),
        torch.ones(2, 10, dtype=torch.long),
        torch.ones(2, 10, dtype=torch.bool),
    )
    answer = content.ContentFrames(
        torch.zeros(2, 10, 8),
        torch.tensor([0.0, 9.0, 0.0]).repeat(2, 10, 1),
        -((bins - f0_to_bin(f0)[..., None]) ** 2),
        torch.ones(2, 20),
    )
    figures = {
        name: value / count for name, (value, count) in content.measure(answer, batch).items()
    }
    assert figures == {
        "phone_accuracy": 1.0,
        "f0_within_half_semitone": 1.0,
        "f0_off_by_two_semitones": 0.0,
        "voicing_error": 0.0,
    }
