from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fast_vc_service.models.nano.envelope import BANDS
from fast_vc_service.models.nano.pitch import VOICED, pitch
from fast_vc_service.models.nano.spectrum import MELS, SILENCE
from tests.training.conftest import tone
from training import features
from training.batches import Library, roughen
from training.data.sources import SOURCES
from training.pairs import PairLibrary
from training.phones import IGNORED

RATE = 16_000


def test_pitch_is_right_where_sure_and_silence_has_none() -> None:
    x = np.concatenate([np.zeros(RATE // 2, np.float32), tone(150.0, 1.0)])
    f0, voicing = pitch(x)
    assert len(f0) == len(voicing) == 150
    assert np.median(f0[60:140]) == pytest.approx(150, rel=0.01)
    assert (voicing[60:140] == VOICED).mean() > 0.95
    assert not (voicing[:45] == VOICED).any()


def test_shards_hold_complete_groups_and_are_not_made_twice(root: Path) -> None:
    features.run(root, "synthetic", 1)
    paths = sorted((root / "features/synthetic").iterdir())
    assert [path.name for path in paths] == ["shard-0-0000.npz", "shard-0-0001.npz"]
    before = [path.stat().st_mtime_ns for path in paths]
    features.run(root, "synthetic", 1)
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_views_of_a_clip_are_aligned_and_labelled(root: Path) -> None:
    features.run(root, "synthetic", 1)
    library = Library(root / "features/synthetic", ("mel", "phones", "f0", "voicing"))
    assert library.refresh() == 2
    assert library.refresh() == 0
    assert library.clips["eval"]
    for clip in library.clips["train"]:
        assert [view.degraded for view in clip.views] == [False, True] * 2
        assert len({view.frames for view in clip.views}) == 1
        batch = library.batch([(clip.views[0], clip.views[2], 0)], 60)
        assert torch.equal(batch.phones[0], batch.phones[1])
        low, high = (
            library.arrays(view.shard)["f0"][2 * view.first : 2 * (view.first + view.frames)]
            for view in (clip.views[0], clip.views[2])
        )
        voiced = (low > 0) & (high > 0)
        assert np.median(high[voiced] / low[voiced]) == pytest.approx(220 / 120, rel=0.02)


def test_segments_past_the_end_are_silent_and_unlabelled(root: Path) -> None:
    features.run(root, "synthetic", 1)
    library = Library(root / "features/synthetic", ("mel", "phones", "f0", "voicing"))
    library.refresh()
    view = library.clips["train"][0].views[0]
    batch = library.batch([(view, view, view.frames - 5)], 20)
    assert batch.mel.shape == (2, 40, MELS)
    assert batch.valid.sum(1).tolist() == [5, 5]
    assert (batch.phones[:, 5:] == IGNORED).all()
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


def test_targets_are_what_the_clean_view_says(root: Path) -> None:
    features.run(root, "synthetic", 1)
    library = Library(root / "features/synthetic", ("f0", "voicing", "envelope", "audio"))
    library.refresh()
    batch = library.speech("train", 3, 40, np.random.default_rng(0))
    assert batch.envelope.shape == (3, 40, BANDS)
    assert batch.audio.shape == (3, 40 * 240)
    louder = batch.louder(torch.full((3,), 0.5))
    assert torch.allclose(louder.audio, batch.audio * np.exp(0.5))
    for clip in library.clips["train"]:
        for clean, degraded in (clip.views[:2], clip.views[2:]):
            assert library.clean(degraded) == clean


def test_a_pair_never_shows_in_the_reference_what_is_to_be_said() -> None:
    shown = PairLibrary._shown(10, 100, (30, 80), 120)
    assert not shown[20:70].any()
    assert shown[:20].all()
    assert shown[70:100].all()
    assert not shown[100:].any()
    assert PairLibrary._shown(0, 20, (0, 20), 40).sum() == 15  # nothing else is left
