from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fast_vc_service.models.nano.acoustic import GLOBAL, MEMORY, Acoustic, Speaker
from fast_vc_service.models.nano.envelope import BANDS
from fast_vc_service.models.nano.self_conversion import (
    STRETCH_FRAMES,
    Reference,
    measure_correction,
)
from fast_vc_service.models.nano.spectrum import MELS, log_mel, warp
from tests.models import nano_networks

FRAMES = 2 * STRETCH_FRAMES + 30


@pytest.fixture
def acoustic() -> Acoustic:
    torch.manual_seed(5)
    return nano_networks.acoustic()


@pytest.fixture
def reference() -> Reference:
    rng = torch.Generator().manual_seed(1)
    return Reference(
        torch.randn(FRAMES, 96, generator=rng),
        torch.randn(2 * FRAMES, generator=rng),
        torch.full((2 * FRAMES,), 150.0),
        torch.ones(2 * FRAMES),
        torch.randn(2 * FRAMES, MELS, generator=rng) - 4,
        torch.arange(FRAMES),
    )


def speaker() -> Speaker:
    rng = torch.Generator().manual_seed(2)
    return Speaker(
        torch.randn(1, GLOBAL, generator=rng),
        torch.randn(1, 400, 96, generator=rng),
        torch.randn(1, 400, MEMORY, generator=rng),
        torch.arange(400)[None] < FRAMES,
    )


def test_every_frame_is_said_once(acoustic: Acoustic, reference: Reference) -> None:
    assert measure_correction(acoustic, 1, speaker(), reference).shape == (2 * FRAMES, BANDS)


def test_a_stretch_does_not_borrow_from_itself(acoustic: Acoustic, reference: Reference) -> None:
    who = speaker()
    other = replace(who, envelope=who.envelope.clone())
    other.envelope[:, :STRETCH_FRAMES] += 3.0
    one = measure_correction(acoustic, 0, who, reference)
    two = measure_correction(acoustic, 0, other, reference)
    differs = (one - two).abs().amax(1) > 1e-6
    assert not differs[: 2 * STRETCH_FRAMES].any()
    assert differs[2 * STRETCH_FRAMES :].all()


def test_warping_moves_a_tone() -> None:
    time = torch.arange(16_000) / 16_000

    def tone(hz: float) -> torch.Tensor:
        frames, _ = log_mel(torch.sin(2 * torch.pi * hz * time)[None])
        return frames

    moved = warp(tone(1500.0), torch.tensor([1.2]))[0, 50]
    assert abs(int(moved.argmax()) - int(tone(1800.0)[0, 50].argmax())) <= 1
    assert torch.allclose(warp(tone(1500.0), torch.tensor([1.0])), tone(1500.0), atol=1e-4)
