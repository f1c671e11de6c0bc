from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fast_vc_service.models.nano.envelope import BANDS
from fast_vc_service.models.nano.pitch import VOICED, pitch
from fast_vc_service.models.nano.spectrum import MELS, SILENCE
from tests.training.conftest import tone
from training import packing
from training.packed_speech import Library, roughen, up_to_date

RATE = 16_000


def test_pitch_is_right_where_sure_and_silence_has_none() -> None:
    x = np.concatenate([np.zeros(RATE // 2, np.float32), tone(150.0, 1.0)])
    f0, voicing = pitch(x)
    assert len(f0) == len(voicing) == 150
    assert np.median(f0[60:140]) == pytest.approx(150, rel=0.01)
    assert (voicing[60:140] == VOICED).mean() > 0.95
    assert not (voicing[:45] == VOICED).any()
    faster, _ = pitch(x, decimation=2)
    assert faster[60:140] == pytest.approx(f0[60:140], rel=0.01)


def test_shards_hold_complete_groups_and_are_not_made_twice(root: Path) -> None:
    packing.run(root, "synthetic", 1)
    paths = sorted((root / "features/synthetic").iterdir())
    assert [path.name for path in paths] == ["shard-0-0000.npz", "shard-0-0001.npz"]
    before = [path.stat().st_mtime_ns for path in paths]
    packing.run(root, "synthetic", 1)
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_workers_share_the_groups(root: Path) -> None:
    made = []
    for worker in range(2):
        packing.run(root, "real", 1, worker, 2)
        made.append(len(list((root / "features/real").iterdir())))
    assert made == [2, 3]
    names = sorted(path.name for path in (root / "features/real").iterdir())
    assert names == ["shard-0000.npz", "shard-0001.npz", "shard-0002.npz"]


def test_nobody_who_is_only_for_evaluation_is_packed(root: Path) -> None:
    packing.run(root, "real", 1)
    library = Library(root / "features/real", ("mel",))
    library.refresh()
    clips = [clip for split in library.clips.values() for clip in split]
    assert {view.name for clip in clips for view in clip.views} == {"a", "b", "c"}
    assert {clip.wide for clip in library.clips["train"]} == {True}
    assert {clip.wide for clip in library.clips["valid"]} == {False}


def test_views_of_a_clip_are_aligned(root: Path) -> None:
    packing.run(root, "synthetic", 1)
    library = Library(root / "features/synthetic", ("mel", "f0", "voicing"))
    assert library.refresh() == 2
    assert library.refresh() == 0
    assert library.clips["eval"]
    for clip in library.clips["train"]:
        assert [view.degraded for view in clip.views] == [False, True] * 2
        assert len({view.frames for view in clip.views}) == 1
        low, high = (
            library.arrays(view.shard)["f0"][2 * view.first : 2 * (view.first + view.frames)]
            for view in (clip.views[0], clip.views[2])
        )
        voiced = (low > 0) & (high > 0)
        assert np.median(high[voiced] / low[voiced]) == pytest.approx(220 / 120, rel=0.02)


def test_segments_past_the_end_are_silent(root: Path) -> None:
    packing.run(root, "synthetic", 1)
    library = Library(root / "features/synthetic", ("mel",))
    library.refresh()
    view = library.clips["train"][0].views[0]
    mel, valid = library.segment(view, view.frames - 5, 20)
    assert mel.shape == (40, MELS)
    assert valid.sum() == 5
    assert np.allclose(mel[10:], SILENCE, atol=0.01)


def test_a_shard_waits_for_what_is_derived_from_it(root: Path) -> None:
    packing.run(root, "synthetic", 1)
    folder = root / "teacher/synthetic"
    folder.mkdir(parents=True)
    library = Library(root / "features/synthetic", ("mel",), {folder: ("projected",)})
    assert library.refresh() == 0
    np.savez(folder / "shard-0-0001.npz", projected=np.ones(3))
    assert library.refresh() == 1
    assert library.arrays(0)["projected"].tolist() == [1, 1, 1]


def test_roughening_is_repeatable_and_finite() -> None:
    mel = torch.full((4, 50, MELS), -3.0)
    one = roughen(mel, torch.Generator().manual_seed(1))
    two = roughen(mel, torch.Generator().manual_seed(1))
    assert torch.equal(one, two)
    assert torch.isfinite(one).all()
    assert not torch.allclose(one, mel, atol=0.1)


def test_targets_are_what_the_clean_view_says(root: Path) -> None:
    packing.run(root, "synthetic", 1)
    library = Library(root / "features/synthetic", ("f0", "voicing", "envelope", "audio"))
    library.refresh()
    speech = library.speech("train", 3, 40, np.random.default_rng(0))
    assert speech.envelope.shape == (3, 40, BANDS)
    assert speech.audio.shape == (3, 40 * 240)
    louder = speech.louder(torch.full((3,), 0.5))
    assert torch.allclose(louder.audio, speech.audio * np.exp(0.5))
    for clip in library.clips["train"]:
        for clean, degraded in (clip.views[:2], clip.views[2:]):
            assert library.clean(degraded) == clean


def test_shards_of_another_front_end_are_packed_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "FRONT_END", "none")
    packing.run(root, "real", 1)
    path = root / "features/real/shard-0000.npz"
    derived = root / "derived.npz"
    derived.touch()
    assert up_to_date(derived, path)
    monkeypatch.setattr(packing, "FRONT_END", "another")
    packing.run(root, "real", 1)
    assert packing.front_end_of(path) == "another"
    assert not up_to_date(derived, path)
