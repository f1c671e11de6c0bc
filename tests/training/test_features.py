from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from fast_vc_service.models.nano.spectrum import MELS, SILENCE
from training import features
from training.batches import Library, roughen
from training.data.sources import SOURCES
from training.phones import IGNORED

RATE = 16_000


def tone(f0: float, seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    time = np.arange(int(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 12))
    return (0.15 * wave).astype(np.float32)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two utterances of two speakers, packed two clips a shard."""
    monkeypatch.setattr(features, "SHARD_CLIPS", 2)
    (tmp_path / "kokoro").mkdir()
    (tmp_path / "kokoro/config.json").write_text(json.dumps({"vocab": {"a": 1, "s": 2}}))
    folder = tmp_path / "synthetic"
    folder.mkdir()
    with (folder / "manifest.jsonl").open("w") as manifest:
        for number, split in enumerate(["train", "train", "eval", "train", "train"]):
            samples = 24_000 + 600 * number
            speech = np.stack([tone(f0, samples / 24_000, 24_000) for f0 in (120, 220)], 1)
            speech[:6000] = 0
            soundfile.write(folder / f"{number}.flac", speech, 24_000)
            entry = {"file": f"{number}.flac", "split": split, "language": "es"}
            entry |= {"tokens": [0, 1, 2, 0], "durations": [10, 20, 5, 5 + number]}
            manifest.write(json.dumps(entry) + "\n")
    return tmp_path


def test_pitch_is_right_where_sure_and_silence_has_none() -> None:
    x = np.concatenate([np.zeros(RATE // 2, np.float32), tone(150.0, 1.0)])
    f0, voicing = features.pitch(x)
    assert len(f0) == len(voicing) == 150
    assert np.median(f0[60:140]) == pytest.approx(150, rel=0.01)
    assert (voicing[60:140] == features.VOICED).mean() > 0.95
    assert not (voicing[:45] == features.VOICED).any()


def test_shards_hold_complete_groups_and_are_not_made_twice(root: Path) -> None:
    features.run(root, "synthetic", 1)
    paths = sorted((root / "features/synthetic").iterdir())
    assert [path.name for path in paths] == ["shard-00000.npz", "shard-00001.npz"]
    before = [path.stat().st_mtime_ns for path in paths]
    features.run(root, "synthetic", 1)
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_views_of_a_clip_are_aligned_and_labelled(root: Path) -> None:
    features.run(root, "synthetic", 1)
    library = Library(root / "features/synthetic")
    assert library.refresh() == 2
    assert library.refresh() == 0
    assert library.clips["eval"]
    for clip in library.clips["train"]:
        assert [view.degraded for view in clip.views] == [False, True] * 2
        assert len({view.frames for view in clip.views}) == 1
        batch = library.batch([(clip.views[0], clip.views[2], 0)], 60)
        assert torch.equal(batch.phones[0], batch.phones[1])
        voiced = (batch.voicing == features.VOICED).all(0)
        ratio = batch.f0[1][voiced] / batch.f0[0][voiced]
        assert float(ratio.median()) == pytest.approx(220 / 120, rel=0.02)


def test_segments_past_the_end_are_silent_and_unlabelled(root: Path) -> None:
    features.run(root, "synthetic", 1)
    library = Library(root / "features/synthetic")
    library.refresh()
    view = library.clips["train"][0].views[0]
    batch = library.batch([(view, view, view.frames - 5)], 20)
    assert batch.mel.shape == (2, 40, MELS)
    assert batch.valid.sum(1).tolist() == [5, 5]
    assert (batch.phones[:, 5:] == IGNORED).all()
    assert (batch.voicing[:, 10:] == features.UNSURE).all()
    assert torch.allclose(batch.mel[:, 10:], torch.full((2, 30, MELS), SILENCE), atol=0.01)


def test_roughening_is_repeatable_and_finite() -> None:
    mel = torch.full((4, 50, MELS), -3.0)
    one = roughen(mel, torch.Generator().manual_seed(1))
    two = roughen(mel, torch.Generator().manual_seed(1))
    assert torch.equal(one, two)
    assert torch.isfinite(one).all()
    assert not torch.allclose(one, mel, atol=0.1)


def test_only_sources_that_ask_for_no_more_than_credit_are_learnt_from() -> None:
    free = {"CC0", "CC-BY-3.0", "CC-BY-4.0", "Apache-2.0", "public domain"}
    assert {source.licence for source in SOURCES if source.use == "train"} <= free
    assert all(source.credit for source in SOURCES)
