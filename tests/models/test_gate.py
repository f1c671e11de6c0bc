from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fast_vc_service.audio.files import read_audio
from fast_vc_service.models.gate import gains
from fast_vc_service.models.silero.vad import CHUNK, SileroVad, load_vad

SPEECH = Path(__file__).parents[2] / "wavs" / "sources" / "british-male-16k.wav"


@pytest.fixture(scope="module")
def vad() -> SileroVad:
    return load_vad(torch.device("cpu"))


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    audio, rate = read_audio(SPEECH)
    assert rate == 16_000
    return torch.from_numpy(audio[16_000 : 16_000 + 40 * CHUNK])


@torch.no_grad()
def test_speech_is_told_from_silence_noise_and_hum(vad: SileroVad, speech: torch.Tensor) -> None:
    noise = 0.05 * torch.randn(len(speech), generator=torch.Generator().manual_seed(0))
    hum = 0.2 * torch.sin(2 * torch.pi * 100 * torch.arange(len(speech)) / 16_000)
    found = vad(torch.stack([speech, torch.zeros_like(speech), noise, hum]))
    assert found.shape == (4, 40)
    assert float(found[0].median()) > 0.8
    assert float(found[1:, 3:].max()) < 0.5


@torch.no_grad()
def test_the_gate_opens_before_speech_and_shuts_after_the_hang_over(
    vad: SileroVad, speech: torch.Tensor
) -> None:
    onset, end = 16_000, 16_000 + len(speech)
    audio = torch.cat([torch.zeros(onset), speech, torch.zeros(16_000)])[None]
    gain = gains(vad, audio, [0], hangover_ms=200)[0]
    heard = np.flatnonzero(gain > 0.99)
    assert onset - 2 * CHUNK <= heard[0] <= onset + 4 * CHUNK
    assert end <= heard[-1] + 4 * CHUNK
    assert not gain[end + 12 * CHUNK :].any()
    assert not gain[: onset - 3 * CHUNK].any()
    assert np.abs(np.diff(gain)).max() <= 1 / 160 + 1e-4


@torch.no_grad()
def test_overlapping_windows_agree(vad: SileroVad, speech: torch.Tensor) -> None:
    audio = torch.cat([speech[:8000], torch.zeros(9600), speech[:16_000]])
    one = gains(vad, audio[None, :24_000], [640], hangover_ms=100)[0]
    two = gains(vad, audio[None, 3200:27_200], [3840], hangover_ms=100)[0]
    # Up to the newest 64 ms, which the next window may know better.
    assert np.abs(one[3200 + 8000 : -1280] - two[8000 : 24_000 - 3200 - 1280]).max() < 1e-4


@torch.no_grad()
def test_live_an_onset_loses_64_ms_at_most(vad: SileroVad, speech: torch.Tensor) -> None:
    block, window, lookahead = 3200, 44_480, 480
    # Onsets at many places of a block.
    pause = torch.zeros(16_000)
    audio = torch.cat([torch.zeros(window), *([speech[:8000], pause[:9500]] * 6), pause])[None]
    whole = gains(vad, audio, [0], hangover_ms=200)[0]
    first, live = window - lookahead - block, []
    for start in range(0, audio.shape[1] - window + 1, block):
        gain = gains(vad, audio[:, start : start + window], [start], hangover_ms=200)[0]
        live.append(gain[-lookahead - block : -lookahead])
    opened = np.concatenate(live) > 0.5
    onsets = np.flatnonzero(np.diff((whole[first : first + len(opened)] > 0.5).astype(int)) == 1)
    assert len(onsets) == 6
    late = [int(np.argmax(opened[onset + 1 :])) for onset in onsets]
    assert max(late) <= 1024
    assert min(late) == 0
