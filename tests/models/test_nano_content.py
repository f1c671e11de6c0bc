from __future__ import annotations

import pytest
import torch

from fast_vc_service.models.nano import spectrum
from fast_vc_service.models.nano.content import (
    ContentConfig,
    ContentEncoder,
    ContentFrames,
)
from fast_vc_service.models.nano.layers import ConvBlock


@pytest.fixture
def encoder() -> ContentEncoder:
    torch.manual_seed(1)
    model = ContentEncoder(ContentConfig(phones=20, width=32, blocks=4))
    for parameter in model.parameters():  # layer scale 0.1 would hide differences
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture
def samples() -> torch.Tensor:
    return torch.randn(2, 320 * 30, generator=torch.Generator().manual_seed(2)) * 0.1


def test_mel_of_a_sine_peaks_at_its_frequency_near_zero_db() -> None:
    time = torch.arange(16_000) / 16_000
    mel, _ = spectrum.log_mel(torch.sin(2 * torch.pi * 1000 * time)[None])
    frame = mel[0, 50]
    assert abs(float(frame.max())) < 0.5
    assert int(frame.argmax()) == pytest.approx(26, abs=1)


def test_mel_of_silence_is_the_floor() -> None:
    mel, _ = spectrum.log_mel(torch.zeros(1, 1600))
    assert torch.allclose(mel, torch.full_like(mel, spectrum.SILENCE))


def test_streamed_mel_equals_offline_mel(samples: torch.Tensor) -> None:
    whole, _ = spectrum.log_mel(samples)
    parts, history = [], None
    for part in samples.split(320 * 3, dim=1):
        mel, history = spectrum.log_mel(part, history)
        parts.append(mel)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)


@pytest.mark.parametrize("right", [0, 1, 2])
def test_block_streams_as_it_runs_offline(right: int) -> None:
    torch.manual_seed(0)
    block = ConvBlock(8, 7, right)
    x = torch.randn(3, 20, 8)
    offline = block(x)
    cache, outputs, first = torch.zeros(3, block.cache_frames, 8), [], 0
    for part in x.split([1, 4, 2, 6, 7], dim=1):
        y, cache = block.stream(part, cache, torch.full((3,), first))
        outputs.append(y)
        first += part.shape[1]
    streamed = torch.cat(outputs, 1)
    assert torch.allclose(streamed[:, right:], offline[:, : 20 - right], atol=1e-5)
    assert not streamed[:, :right].any()


def parts_of(frames: ContentFrames) -> tuple[torch.Tensor, ...]:
    return frames.bottleneck, frames.phones


@pytest.mark.parametrize("sizes", [[1] * 30, [7, 1, 12, 10], [30]])
def test_encoder_streams_as_it_runs_offline(
    encoder: ContentEncoder, samples: torch.Tensor, sizes: list[int]
) -> None:
    mel, _ = spectrum.log_mel(samples)
    offline = parts_of(encoder(mel))
    state, answers = encoder.new_state(2), []
    for part in mel.split([2 * size for size in sizes], dim=1):
        answer, state = encoder.stream(part, state)
        answers.append(parts_of(answer))
    delay = encoder.delay_frames
    for index, whole in enumerate(offline):
        streamed = torch.cat([answer[index] for answer in answers], 1)
        skip = delay * (whole.shape[1] // 30)
        # The offline path sees zeros after the end, the stream has not got there yet.
        assert torch.allclose(streamed[:, skip:], whole[:, : whole.shape[1] - skip], atol=1e-4)


def test_sessions_of_different_age_share_a_step(
    encoder: ContentEncoder, samples: torch.Tensor
) -> None:
    mel, _ = spectrum.log_mel(samples[:1])
    _, old = encoder.stream(mel[:, :20], encoder.new_state(1))
    new = encoder.new_state(1)
    together = type(old)(
        tuple(torch.cat(pair) for pair in zip(old.caches, new.caches, strict=True)),
        torch.cat([old.frames, new.frames]),
    )
    both, _ = encoder.stream(torch.cat([mel[:, 20:30], mel[:, :10]]), together)
    one, _ = encoder.stream(mel[:, 20:30], old)
    two, _ = encoder.stream(mel[:, :10], new)
    assert torch.allclose(both.phones, torch.cat([one.phones, two.phones]), atol=1e-5)


def test_encoder_hears_nothing_beyond_its_look_ahead(
    encoder: ContentEncoder, samples: torch.Tensor
) -> None:
    changed = samples.clone()
    changed[:, 320 * 20 :] += 0.1
    one = encoder(spectrum.log_mel(samples)[0]).bottleneck
    two = encoder(spectrum.log_mel(changed)[0]).bottleneck
    safe = 20 - encoder.delay_frames
    assert torch.equal(one[:, :safe], two[:, :safe])
    assert not torch.equal(one[:, safe], two[:, safe])
