from __future__ import annotations

import pytest
import torch

from fast_vc_service.models.nano.acoustic import (
    CENTRE,
    GLOBAL,
    LOWEST,
    MEMORY,
    SOURCE_FEATURES,
    Acoustic,
    Prepared,
    Speaker,
    euler_times,
    normalise,
    restore,
    source_features,
    speaker_vector,
)
from fast_vc_service.models.nano.envelope import BANDS, BANDS_BELOW_7K6
from fast_vc_service.models.nano.spectrum import MELS
from tests.models import nano_networks

FRAMES = 30
STEPS = 2


@pytest.fixture
def acoustic() -> Acoustic:
    torch.manual_seed(5)
    return nano_networks.acoustic()


def speaker(rows: int, seed: int = 0) -> Speaker:
    rng = torch.Generator().manual_seed(seed)
    mask = torch.ones(rows, 20, dtype=torch.bool)
    mask[:, 15:] = False
    return Speaker(
        torch.randn(rows, GLOBAL, generator=rng),
        torch.randn(rows, 20, 96, generator=rng),
        torch.randn(rows, 20, MEMORY, generator=rng),
        mask,
    )


def prepared(acoustic: Acoustic, rows: int, seed: int = 0) -> Prepared:
    return acoustic.prepare(speaker(rows, seed), euler_times(STEPS, rows))


def inputs(rows: int = 2) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(6)
    return tuple(
        torch.randn(rows, FRAMES, size, generator=rng) for size in (96, SOURCE_FEATURES, 2 * BANDS)
    )


def in_pieces(
    acoustic: Acoustic, sizes: list[int], parts: tuple[torch.Tensor, ...], who: Prepared
) -> torch.Tensor:
    state, out, at = acoustic.new_state(len(parts[0]), STEPS), [], 0
    for size in sizes:
        made, state = acoustic.stream(*(part[:, at : at + size] for part in parts), who, state)
        out.append(made)
        at += size
    return torch.cat(out, 1)


def test_any_chunking_gives_the_same_envelope(acoustic: Acoustic) -> None:
    parts, who = inputs(), prepared(acoustic, 2)
    whole = in_pieces(acoustic, [FRAMES], parts, who)
    assert whole.shape == (2, 2 * FRAMES, BANDS)
    for sizes in ([1] * FRAMES, [4, 1, 9, 16]):
        assert torch.allclose(in_pieces(acoustic, sizes, parts, who), whole, atol=1e-4)


def test_it_does_not_look_ahead(acoustic: Acoustic) -> None:
    parts, who = inputs(), prepared(acoustic, 2)
    whole = in_pieces(acoustic, [FRAMES], parts, who)
    changed = tuple(part.clone() for part in parts)
    for part in changed[:2]:
        part[:, 12:] += 1.0
    differs = (in_pieces(acoustic, [FRAMES], changed, who) != whole).any(-1).any(0)
    assert int(differs.nonzero()[0]) // 2 == 12


def test_the_voice_and_the_noise_are_heard(acoustic: Acoustic) -> None:
    parts = inputs()
    whole = in_pieces(acoustic, [FRAMES], parts, prepared(acoustic, 2))
    assert not torch.allclose(
        in_pieces(acoustic, [FRAMES], parts, prepared(acoustic, 2, 1)), whole, atol=0.1
    )
    other = (*parts[:2], -parts[2])
    assert not torch.allclose(
        in_pieces(acoustic, [FRAMES], other, prepared(acoustic, 2)), whole, atol=0.1
    )


def test_masked_frames_of_a_reference_do_not_matter(acoustic: Acoustic) -> None:
    who = speaker(2)
    spoiled = Speaker(who.vector, who.content.clone(), who.envelope.clone(), who.mask)
    spoiled.content[:, 15:] = 50.0
    spoiled.envelope[:, 15:] = 50.0
    parts, times = inputs(), euler_times(STEPS, 2)
    one = in_pieces(acoustic, [FRAMES], parts, acoustic.prepare(who, times))
    two = in_pieces(acoustic, [FRAMES], parts, acoustic.prepare(spoiled, times))
    assert torch.allclose(one, two, atol=1e-5)


def test_rows_do_not_hear_each_other(acoustic: Acoustic) -> None:
    parts, who = inputs(), prepared(acoustic, 2)
    other = tuple(part.clone() for part in parts)
    for part in other:
        part[1] += 1.0
    one = in_pieces(acoustic, [FRAMES], parts, who)[0]
    assert torch.equal(in_pieces(acoustic, [FRAMES], other, who)[0], one)


def test_normalised_envelopes_come_back() -> None:
    values = torch.tensor([LOWEST - 3, LOWEST, -4.0, 0.5])
    assert restore(normalise(values)).tolist() == pytest.approx([LOWEST, LOWEST, -4.0, 0.5])


def test_no_pitch_is_told_where_nothing_is_voiced() -> None:
    energy, f0 = torch.zeros(1, 4), torch.tensor([[100.0, 200.0, 300.0, 400.0]])
    mel = torch.full((1, 4, MELS), CENTRE)
    rows = source_features(energy, f0, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), mel)
    assert rows.shape == (1, 2, SOURCE_FEATURES)
    first, second = rows.reshape(2, 2, -1)
    assert first[:, 1].tolist() == [0, 0]
    assert second[1, 1] > second[0, 1] > 0
    assert rows.reshape(4, -1)[:, 3:].abs().max() == 0


def test_a_speaker_vector_is_made_of_loud_frames() -> None:
    frames = torch.zeros(1, 10, MEMORY)
    frames[:, 5:] = -2.2  # near the floor: a pause
    vector = speaker_vector(torch.ones(1, 192), frames, torch.ones(1, 10, dtype=torch.bool))
    mean = vector[0, 192 : 192 + BANDS_BELOW_7K6]
    assert mean.abs().max() < 1e-6
    scaled = speaker_vector(7 * torch.ones(1, 192), frames, torch.ones(1, 10, dtype=torch.bool))
    assert torch.allclose(scaled, vector)
