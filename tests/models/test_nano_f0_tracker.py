from __future__ import annotations

import pytest
import torch

from fast_vc_service.models.nano.f0_tracker import F0_BINS, F0Tracker, f0_from_logits, f0_to_bin
from tests.models import nano_networks

HOPS = 40


@pytest.fixture
def f0_tracker() -> F0Tracker:
    torch.manual_seed(8)
    return nano_networks.f0_tracker()


def speech() -> torch.Tensor:
    return 0.1 * torch.randn(2, 160 * HOPS, generator=torch.Generator().manual_seed(1))


def in_pieces(f0_tracker: F0Tracker, sizes: list[int], samples: torch.Tensor) -> torch.Tensor:
    state, out = f0_tracker.new_state(len(samples)), []
    for part in samples.split([160 * size for size in sizes], 1):
        pitch, voicing, state = f0_tracker.stream(part, state)
        out.append(torch.cat([pitch, voicing[..., None]], -1))
    return torch.cat(out, 1)


def test_any_chunking_gives_the_same_pitch(f0_tracker: F0Tracker) -> None:
    whole = in_pieces(f0_tracker, [HOPS], speech())
    for sizes in ([1] * HOPS, [3, 8, 2, 27]):
        assert torch.allclose(in_pieces(f0_tracker, sizes, speech()), whole, atol=1e-4)


def test_it_looks_ahead_as_far_as_declared_and_no_further(f0_tracker: F0Tracker) -> None:
    changed = speech()
    changed[:, 160 * 20 :] += 0.05
    differs = (
        in_pieces(f0_tracker, [HOPS], changed) != in_pieces(f0_tracker, [HOPS], speech())
    ).any(-1)
    first = int(differs.any(0).nonzero()[0])
    assert first in {20, 21}  # what comes out with hop 20 may hear it, what came before may not


def test_loudness_is_not_pitch(f0_tracker: F0Tracker) -> None:
    whole = in_pieces(f0_tracker, [HOPS], speech())
    louder = in_pieces(f0_tracker, [HOPS], 3 * speech())
    assert torch.allclose(whole[:, 12:], louder[:, 12:], atol=0.05)


def test_f0_bins_round_trip() -> None:
    hz = torch.tensor([55.0, 123.4, 440.0, 790.0])
    logits = -((torch.arange(F0_BINS) - f0_to_bin(hz)[:, None]) ** 2) / 2
    assert torch.allclose(f0_from_logits(logits), hz, rtol=0.003)
