"""The register of a recording, measured before it is converted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fast_vc_service.audio.f0 import median_f0_hz
from fast_vc_service.audio.files import read_audio
from fast_vc_service.contract import FloatArray

SOURCES = Path(__file__).parents[2] / "wavs" / "sources"


def hum(samples: int, rate: int) -> FloatArray:
    time = np.arange(samples) / rate
    return (0.05 * np.sin(2 * np.pi * 50 * time) + 0.1).astype(np.float32)


def harmonics(f0_hz: float, rate: int, seconds: float) -> FloatArray:
    phase = 2 * np.pi * f0_hz * np.arange(round(seconds * rate)) / rate
    return sum(np.sin(k * phase) / k for k in range(1, 12)).astype(np.float32) * np.float32(0.1)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("f0_hz", [85.0, 120.0, 210.0, 400.0])
def test_the_median_is_that_of_the_voice(rate: int, f0_hz: float) -> None:
    voice = harmonics(f0_hz, rate, 3.0)
    found = median_f0_hz([voice[:1000], voice[1000:]], rate)
    assert found is not None
    assert abs(12 * math.log2(found / f0_hz)) < 0.3


@pytest.mark.parametrize("name", ["british-male-16k", "high-pitched-female-24k"])
def test_hum_and_offset_change_nothing(name: str) -> None:
    audio, rate = read_audio(SOURCES / f"{name}.wav")
    audio = audio[: 6 * rate]
    clean = median_f0_hz([audio], rate)
    disturbed = median_f0_hz([audio + hum(len(audio), rate)], rate)
    assert clean is not None
    assert disturbed is not None
    assert abs(12 * math.log2(disturbed / clean)) < 0.2


def test_no_voice_has_no_register() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    for audio in (np.zeros(48_000, np.float32), noise, hum(48_000, 16_000), noise[:5]):
        assert median_f0_hz([audio], 16_000) is None
    assert median_f0_hz([], 16_000) is None


@pytest.mark.parametrize("samples", [1, 100, 161, 250, 330, 481])
def test_what_is_left_over_behind_a_piece_may_be_short(samples: int) -> None:
    """A recording is listened to in pieces of 10 s; the last one may be next to nothing."""
    voice = harmonics(120.0, 16_000, 10.0 + samples / 16_000)
    found = median_f0_hz([voice], 16_000)
    assert found is not None
    assert abs(12 * math.log2(found / 120.0)) < 0.3
