from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from fast_vc_service.models.nano.acoustic import CUES, GLOBAL, Acoustic, AcousticConfig
from fast_vc_service.models.nano.content import ContentConfig, ContentEncoder
from fast_vc_service.models.nano.envelope import BANDS, BANDS_BELOW_7K6
from fast_vc_service.models.nano.spectrum import MELS
from training import checkpoint, embeddings, leak, memory_content, packing
from training import teacher as teaching
from training.acoustic import FRAMES, WARP, Trainer, hear, measure, perturbed, variance_of
from training.adversary import CROP_FRAMES, Discriminator, crops, discriminator_loss
from training.conversion_batches import AHEAD, BEFORE, Speakers, shown_frames
from training.packed_speech import Library
from training.reader import Reader

CONTENT = ContentConfig(0, 24, 4, normalised=False)
ACOUSTIC = AcousticConfig(
    width=24, blocks=2, flow_width=24, flow_blocks=1, hears_mel=False, generator=True
)


@pytest.fixture
def encoder() -> ContentEncoder:
    torch.manual_seed(0)
    return ContentEncoder(CONTENT).eval()


@pytest.fixture
def speakers(root: Path, teacher: Path, encoder: ContentEncoder) -> dict[str, Speakers]:
    weights = root / "content.safetensors"
    checkpoint.export(weights, encoder, {"config": vars(CONTENT)})
    found = {}
    for kind in ("real", "synthetic"):
        packing.run(root, kind, 1)
    teaching.main(["--root", str(teacher)])
    embeddings.main(["--root", str(root)])
    memory_content.main(["--root", str(root), "--content", str(weights)])
    for kind in ("real", "synthetic"):
        found[kind] = Speakers(root, kind, memory_content.version_of(weights))
        found[kind].refresh()
    return found


def test_the_stages_of_an_acoustic_step(
    speakers: dict[str, Speakers], encoder: ContentEncoder
) -> None:
    """Batches, what is heard of them, losses of both sides, and figures: one fixture, one walk."""
    batches = {
        kind: speakers[kind].draw("train", 3, FRAMES, np.random.default_rng(2)) for kind in speakers
    }
    for batch in batches.values():
        assert batch.mel.shape == (3, 2 * (BEFORE + FRAMES + AHEAD), MELS)
        assert batch.envelope.shape == (3, 2 * FRAMES, BANDS)
        assert batch.embedding.shape == (3, 192)
    # One person's recording is never heard as it is; the other of a pair may be.
    assert batches["real"].lone.all()
    assert not batches["synthetic"].lone.any()
    # Bands that a 16 kHz recording does not fill are not compared; these are at 24 kHz.
    assert batches["real"].bands.sum(1).tolist() == [BANDS] * 3
    valid = speakers["real"].draw("valid", 2, FRAMES, np.random.default_rng(2))
    assert valid.bands.sum(1).tolist() == [BANDS_BELOW_7K6] * 2

    heard = hear(encoder, batches["real"], batches["real"].mel)
    assert heard.content.shape == (3, FRAMES, CONTENT.bottleneck)
    assert heard.cues.shape == (3, FRAMES, CUES)

    network = Acoustic(ACOUSTIC)
    encoder.requires_grad_()
    variance = variance_of(speakers["real"])
    assert variance.shape == (CONTENT.bottleneck,)
    trainer = Trainer(network, encoder, variance, 1e-3)
    before = [each.clone() for each in trainer.judges.parameters()]
    detail = network.detail.clone()
    parts = trainer.losses(batches["synthetic"], torch.Generator().manual_seed(1), 1000)
    judged = {"result", "adversary", "matching", "reading"}
    assert set(parts) == {"mean", "change", "content"} | judged
    assert all(bool(torch.isfinite(part.detach())) for part in parts.values())
    torch.autograd.backward(torch.stack(list(parts.values())).sum())
    assert network.flow.out.weight.grad is not None
    assert network.flow.out.weight.grad.abs().sum() > 0
    # What the acoustic model needs to hear reaches the content encoder.
    assert encoder.stem.weight.grad is not None
    assert encoder.stem.weight.grad.abs().sum() > 0
    assert not torch.equal(network.detail, detail)
    after = list(trainer.judges.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    fresh = trainer.losses(batches["synthetic"], torch.Generator().manual_seed(1), 0)
    assert set(fresh) == {"mean", "change", "content"}, "the judges learn alone at first"

    figures = measure(network, encoder, valid, 0) | measure(network, encoder, valid, 1)
    assert figures["db_0"] > 0
    assert figures.keys() == {"db_0", "db_1"}


def test_a_lone_source_is_never_heard_as_it_is(speakers: dict[str, Speakers]) -> None:
    batch = speakers["real"].draw("train", 8, FRAMES, np.random.default_rng(2))
    moved, level = perturbed(batch, torch.Generator().manual_seed(0))
    shift = (moved - level[..., None] - batch.mel)[:, 2 * BEFORE : 2 * BEFORE + 100]
    # A tilt alone is the same in all frames; a warp is not.
    assert (shift.std(1).amax(1) > 0.05).all()
    assert WARP[0] > 0


def test_what_is_to_be_said_is_never_shown_in_the_reference() -> None:
    shown = shown_frames(10, 100, (30, 80), 120)
    assert not shown[20:70].any()
    assert shown[:20].all()
    assert shown[70:100].all()
    assert not shown[100:].any()
    assert shown_frames(0, 20, (0, 20), 40).sum() == 15  # nothing else is left


def test_content_of_a_view_does_not_depend_on_its_neighbours(
    root: Path, encoder: ContentEncoder
) -> None:
    packing.run(root, "synthetic", 1)
    with np.load(root / "features/synthetic/shard-0-0000.npz") as shard:
        views, mel = shard["views"], shard["mel"]
    together = memory_content.content_of(views, mel, encoder)
    _, first, frames, _, _ = views[3].tolist()
    alone = memory_content.content_of(views[3:4], mel, encoder)
    assert np.allclose(together[first : first + frames], alone[first : first + frames], atol=0.05)


def test_a_judge_learns_to_tell_real_from_made() -> None:
    torch.manual_seed(0)
    judge = Discriminator()
    optimiser = torch.optim.AdamW(judge.parameters(), 1e-3)
    speaker = torch.randn(8, GLOBAL)
    for _ in range(30):
        real = torch.randn(8, CROP_FRAMES, BANDS_BELOW_7K6)
        made = real.cumsum(1) / 8
        loss = discriminator_loss(judge(real, speaker)[0], judge(made, speaker)[0])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    assert loss.item() < 0.3


def test_a_reader_learns_what_an_envelope_says() -> None:
    torch.manual_seed(0)
    reader = Reader()
    optimiser = torch.optim.AdamW(reader.parameters(), 1e-3)
    spectra = torch.randn(5, BANDS)
    for _ in range(80):
        said = torch.randint(5, (8, 20))
        wanted = functional.one_hot(said, CONTENT.bottleneck).float()
        envelope = spectra[said].repeat_interleave(2, 1)
        read = reader(envelope + 0.1 * torch.randn(envelope.shape))
        assert read.shape == wanted.shape
        loss = (read - wanted).square().sum(-1).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    assert loss.item() < 0.2, "of 0.8 that a constant has"


def test_crops_are_cut_alike_and_inside_what_is_valid() -> None:
    ramp = torch.arange(200.0)[None, :, None].expand(3, 200, BANDS)
    valid = torch.zeros(3, 100, dtype=torch.bool)
    valid[:, :40] = True
    one, two = crops([ramp, 2 * ramp], valid, torch.Generator().manual_seed(1))
    assert one.shape == (3, CROP_FRAMES, BANDS_BELOW_7K6)
    assert torch.equal(2 * one, two)
    assert one.max() < 80


def test_a_voice_in_the_content_is_found_and_its_absence_too() -> None:
    rng = torch.Generator().manual_seed(0)
    voices = 4 * torch.randn(12, 1, 96, generator=rng)
    noise = torch.randn(12, 6, 96, generator=rng)
    names = [str(number) for number in range(12)]
    told = leak.leak(dict(zip(names, voices + noise, strict=True)))
    hidden = leak.leak(dict(zip(names, noise, strict=True)))
    assert told.right == 1.0
    assert hidden.right < 0.3
    assert "of 12 unseen speakers" in str(told)
    assert "72 clips" in str(told)


def test_the_leak_is_measured_on_people_held_out(root: Path, encoder: ContentEncoder) -> None:
    packing.run(root, "real", 1)
    library = Library(root / "features/real", ("mel",))
    library.refresh()
    assert {name: len(each) for name, each in leak.means(library, encoder, 1).items()} == {
        "b": 2,
        "c": 2,
    }
