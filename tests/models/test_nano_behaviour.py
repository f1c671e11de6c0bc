"""What the shipped model does with sounds that are no plain speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from scipy.linalg import solve_toeplitz

from fast_vc_service.audio.files import read_audio
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, FloatArray, Voice
from fast_vc_service.engine.families import build_converter
from fast_vc_service.engine.stream import convert_offline
from fast_vc_service.models.nano.pitch import VOICED, pitch

WAVS = Path(__file__).parents[2] / "wavs"
RATE = SAMPLE_RATE_IN
SECONDS = 4
SYLLABLES_HZ = (2.0, 8.0)


@pytest.fixture(scope="module")
def converter() -> Converter:
    return build_converter("nano")


@pytest.fixture(scope="module", params=["bass", "soprano"])
def voice(request: pytest.FixtureRequest, converter: Converter) -> Voice:
    audio, rate = read_audio(WAVS / "references" / f"{request.param}.wav")
    return converter.make_voice(request.param, audio, rate)


@pytest.fixture(scope="module")
def speech() -> FloatArray:
    audio, rate = read_audio(WAVS / "sources" / "british-male-16k.wav")
    assert rate == RATE
    return audio[: SECONDS * RATE]


def converted(converter: Converter, voice: Voice, audio: FloatArray) -> FloatArray:
    out = convert_offline(converter, voice, audio.astype(np.float32), RATE, RATE)
    assert len(out) == len(audio)
    assert np.isfinite(out).all()
    return out


def level_dbfs(audio: FloatArray) -> float:
    return float(10 * np.log10(np.mean(np.square(audio, dtype=np.float64)) + 1e-12))


def voiced_share(audio: FloatArray) -> float:
    _, voicing = pitch(audio.astype(np.float32))
    return float(np.mean(voicing == VOICED))


def syllables(audio: FloatArray) -> float:
    """How much the level in dB swings at the rate of syllables, without the first half second."""
    power = np.square(audio[RATE // 2 :].astype(np.float64)).reshape(-1, RATE // 100).mean(1)
    level = 10 * np.log10(np.maximum(power, 1e-7))
    band = scipy.signal.butter(2, SYLLABLES_HZ, "bandpass", fs=100, output="sos")
    return float(np.std(scipy.signal.sosfiltfilt(band, level)))


def noise(dbfs: float, seed: int = 0) -> FloatArray:
    white = np.random.default_rng(seed).standard_normal(SECONDS * RATE)
    return np.asarray(white * 10 ** (dbfs / 20), np.float32)


def pink(dbfs: float) -> FloatArray:
    coloured = scipy.signal.lfilter([0.1], [1, -0.9], noise(0))
    return np.asarray(coloured / np.std(coloured) * 10 ** (dbfs / 20), np.float32)


def chord(dbfs: float) -> FloatArray:
    """An organ: three notes of a few harmonics each."""
    time = np.arange(SECONDS * RATE) / RATE
    tones = [
        np.sin(2 * np.pi * f0 * k * time + k) / k
        for f0 in (220.0, 277.2, 329.6)
        for k in range(1, 7)
    ]
    both = np.sum(tones, 0)
    return np.asarray(both / np.std(both) * 10 ** (dbfs / 20), np.float32)


def breath() -> FloatArray:
    """Two puffs of shaped noise at -40 dBFS in silence."""
    shape = np.zeros(SECONDS * RATE)
    for start in (RATE // 2, 5 * RATE // 2):
        shape[start : start + RATE] = np.hanning(RATE)
    band = scipy.signal.butter(2, (400, 3500), "bandpass", fs=RATE, output="sos")
    air = scipy.signal.sosfilt(band, noise(0))
    return np.asarray(0.01 * shape * air / np.std(air), np.float32)


def whispered(audio: FloatArray) -> FloatArray:
    """The same mouth, noise for a voice: linear prediction (order 18) excited by noise."""
    window, hop, order = 640, 320, 18
    rng = np.random.default_rng(1)
    out = np.zeros(len(audio) + window)
    shape = np.hanning(window)
    for start in range(0, len(audio) - window, hop):
        frame = audio[start : start + window].astype(np.float64) * shape
        r = np.correlate(frame, frame, "full")[window - 1 : window + order]
        r[0] = r[0] * 1.001 + 1e-9
        a = solve_toeplitz(r[:order], r[1 : order + 1])
        gain = np.sqrt(max(r[0] - a @ r[1 : order + 1], 0.0) / np.sum(shape**2))
        filtered = scipy.signal.lfilter([gain], [1, *-a], rng.standard_normal(window))
        out[start : start + window] += filtered * shape
    return np.asarray(out[: len(audio)], np.float32)


def test_silence_stays_silent(converter: Converter, voice: Voice, speech: FloatArray) -> None:
    quiet = np.zeros(2 * RATE, np.float32)
    assert level_dbfs(converted(converter, voice, quiet)) <= -60
    after = converted(converter, voice, np.concatenate([speech[: 2 * RATE], quiet]))
    assert level_dbfs(after[5 * RATE // 2 :]) <= -60


@pytest.mark.parametrize("make", [noise, pink, chord])
@pytest.mark.parametrize("dbfs", [-20, -45])
def test_noise_and_music_do_not_babble(
    converter: Converter, voice: Voice, speech: FloatArray, make: object, dbfs: int
) -> None:
    assert callable(make)
    heard: FloatArray = make(dbfs)
    out = converted(converter, voice, heard)
    assert level_dbfs(out) < level_dbfs(heard) + 6
    # A chord in a low voice beats at the rate of syllables, with half the depth of speech.
    assert syllables(out) < (0.6 if make is chord else 0.5) * syllables(speech)
    if make is not chord:
        # Noise is turned down by 8 dB and more; hardly a frame of the rest is taken for a voice.
        assert level_dbfs(out) < level_dbfs(heard) - 8
        assert voiced_share(out) < 0.1


def test_breath_stays_breath(converter: Converter, voice: Voice) -> None:
    heard = breath()
    out = converted(converter, voice, heard)
    assert voiced_share(out) < 0.1
    # Turned down like other noise, but no voice and never louder.
    assert -25 < level_dbfs(out) - level_dbfs(heard) < 3


def test_whisper_does_not_explode(converter: Converter, voice: Voice, speech: FloatArray) -> None:
    heard = whispered(speech)
    assert voiced_share(heard) < 0.15
    out = converted(converter, voice, heard)
    assert level_dbfs(out) < level_dbfs(heard) + 8
    assert voiced_share(out) < voiced_share(heard) + 0.15


def test_clipping_stays_speech(converter: Converter, voice: Voice, speech: FloatArray) -> None:
    heard = np.clip(30 * np.resize(speech, 30 * RATE), -1, 1)
    out = converted(converter, voice, heard)
    assert np.abs(out).max() <= 1
    first, last = out[10 * RATE : 20 * RATE], out[20 * RATE :]
    assert abs(level_dbfs(first) - level_dbfs(last)) < 3


@pytest.mark.parametrize("hertz", [0, 8000])
def test_edge_tones_stay_finite_and_bounded(
    converter: Converter, voice: Voice, hertz: float
) -> None:
    time = np.arange(2 * RATE) / RATE
    out = converted(converter, voice, 0.9 * np.cos(2 * np.pi * hertz * time))
    assert np.abs(out).max() <= 1
