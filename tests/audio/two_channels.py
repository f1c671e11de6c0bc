"""Pairs of channels for the tests of both mix-downs, and what their sum has to be like."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import FloatArray

WAVS = Path(__file__).parents[2] / "wavs"
RATE = 16_000
SECONDS = 6

CORRELATIONS = (1, 0.5, 0, -0.5, -0.9, -0.98, -1)
DELAYS_MS = (0, 0.5, 1, 3, 5, 8, 10)
GAINS = (1.0, -1.0, 1.4, -0.5)


@cache
def speech(name: str) -> FloatArray:
    audio, rate = read_audio(WAVS / "sources" / f"{name}.wav")
    audio = resample(audio[: SECONDS * rate], rate, RATE)
    return (0.07 * audio / np.sqrt(np.mean(audio**2))).astype(np.float32)


MAN, WOMAN = "british-male-16k", "high-pitched-female-24k"
SILENCE = np.zeros(SECONDS * RATE, np.float32)


def noise(dbfs: float) -> FloatArray:
    white = np.random.default_rng(0).standard_normal(SECONDS * RATE)
    return np.asarray(white * 10 ** (dbfs / 20), np.float32)


def hum(dbfs: float, hz: float = 50.0) -> FloatArray:
    wave = np.sin(2 * np.pi * hz * np.arange(SECONDS * RATE) / RATE)
    return np.asarray(2**0.5 * 10 ** (dbfs / 20) * wave, np.float32)


def levels(audio: FloatArray, seconds: float) -> np.ndarray:
    size = round(seconds * RATE)
    frames = audio[: len(audio) // size * size].reshape(-1, size).astype(np.float64)
    return np.asarray(10 * np.log10((frames**2).mean(1) + 1e-12))


def speech_level(audio: FloatArray) -> float:
    power = 10 ** (levels(audio, 0.02) / 10)
    return float(10 * np.log10(power[power > power.max() * 10**-2.5].mean()))


def check(out: FloatArray, *spoken: FloatArray) -> None:
    loudest = max(speech_level(channel) for channel in spoken)
    assert speech_level(out) == pytest.approx(loudest, abs=2.0)
    every = np.max([levels(channel, 0.1) for channel in spoken], axis=0)
    relative = levels(out, 0.1) - every
    heard = every > -55
    moves = np.abs(np.diff(relative))[heard[1:] & heard[:-1]]
    assert moves.max() <= 6.0


def correlated(correlation: float) -> tuple[FloatArray, FloatArray]:
    """Two channels whose correlation is this."""
    left = speech(MAN)
    return left, correlation * left + np.sqrt(1 - correlation**2) * speech(WOMAN)


def said_later(delay_ms: float, gain: float) -> tuple[FloatArray, FloatArray]:
    """Speech, and the same by ``delay_ms`` later times ``gain``."""
    samples = round(delay_ms * RATE / 1000)
    left = speech(MAN)
    return left, gain * np.concatenate([SILENCE[:samples], left[: len(left) - samples]])
