from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fast_vc_service.audio.opus import opus_available
from training import augment

RATE = 16_000


def voice_like(seconds: float = 1.5, f0: float = 140.0) -> NDArray[np.float32]:
    """A pulse train through two resonances, with a pause: enough structure to test timing."""
    time = np.arange(int(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 20))
    envelope = np.clip(np.sin(2 * np.pi * 1.7 * time), 0, 1)
    return (0.2 * tone * envelope).astype(np.float32)


def lag(x: NDArray[np.float32], y: NDArray[np.float32]) -> int:
    correlation = np.fft.irfft(np.fft.rfft(y, 1 << 16) * np.conj(np.fft.rfft(x, 1 << 16)))
    shift = int(np.argmax(correlation))
    return shift - (1 << 16) if shift > 1 << 15 else shift


@pytest.fixture
def speech() -> NDArray[np.float32]:
    return voice_like()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_noise_has_the_asked_ratio_to_the_speech_level(
    speech: NDArray[np.float32], rng: np.random.Generator
) -> None:
    noisy = augment.add_noise(speech, augment.coloured_noise(9_000, 1.0, rng), 10.0, RATE)
    ratio = augment.speech_level(speech, RATE) / augment.rms(noisy - speech)
    assert 20 * np.log10(ratio) == pytest.approx(10.0, abs=0.01)


def test_noise_colour_moves_power_downwards(rng: np.random.Generator) -> None:
    def low_share(exponent: float) -> float:
        power = np.square(np.abs(np.fft.rfft(augment.coloured_noise(32_000, exponent, rng))))
        return float(power[:2000].sum() / power.sum())

    assert low_share(-0.5) < low_share(0.0) < low_share(1.0) < low_share(2.0)


def test_reverberation_keeps_the_direct_sound_and_adds_the_asked_tail(
    rng: np.random.Generator,
) -> None:
    click = np.zeros(RATE, np.float32)
    click[100] = 1.0
    wet = augment.reverberate(click, 0.4, 6.0, RATE, rng)
    assert wet[100] == pytest.approx(1.0, abs=1e-3)
    assert not wet[:100].any() or np.abs(wet[:100]).max() < 1e-6
    tail = float(np.square(wet[101:]).sum())
    assert -10 * np.log10(tail) == pytest.approx(6.0, abs=0.5)


def test_equaliser_follows_its_curve(rng: np.random.Generator) -> None:
    white = augment.coloured_noise(32_000, 0.0, rng)
    gains = np.array([-6, -6, -6, 6, 6, 6], np.float32)
    ratio = np.abs(np.fft.rfft(augment.equalise(white, gains, RATE)) / np.fft.rfft(white))
    decibels = 20 * np.log10(ratio)
    assert decibels[200] == pytest.approx(-6, abs=0.1)
    assert decibels[12_000] == pytest.approx(6, abs=0.1)


def test_band_limit_removes_what_is_outside(rng: np.random.Generator) -> None:
    white = augment.coloured_noise(32_000, 0.0, rng)
    spectrum = np.abs(np.fft.rfft(augment.band_limit(white, 300, 3400, RATE) * np.hanning(32_000)))
    inside, above, below = spectrum[2000:6000], spectrum[11_000:], spectrum[:100]
    assert above.mean() < 0.05 * inside.mean()
    assert below.mean() < 0.05 * inside.mean()


@pytest.mark.parametrize("codec", [augment.mu_law, augment.a_law])
def test_g711_error_is_about_38_db_down(codec: object, speech: NDArray[np.float32]) -> None:
    decoded = codec(speech)  # type: ignore[operator]
    snr = 20 * np.log10(augment.rms(speech) / augment.rms(decoded - speech))
    assert 25 < snr < 50


@pytest.mark.parametrize("codec", [augment.mu_law, augment.a_law, augment.gsm])
def test_telephone_keeps_timing_and_length(codec: object, speech: NDArray[np.float32]) -> None:
    line = augment.telephone(speech, RATE, codec)  # type: ignore[arg-type]
    assert line.shape == speech.shape
    assert abs(lag(augment.band_limit(speech, 300, 3400, RATE), line)) <= 4


@pytest.mark.filterwarnings("ignore::SyntaxWarning")  # opuslib's own source
@pytest.mark.skipif(not opus_available(), reason="libopus is not installed")
def test_opus_keeps_timing_and_length(speech: NDArray[np.float32]) -> None:
    decoded = augment.opus(speech, 24_000, RATE)
    assert decoded.shape == speech.shape
    assert abs(lag(speech, decoded)) <= 2
    assert np.corrcoef(speech, decoded)[0, 1] > 0.7


def test_speed_change_scales_time_and_pitch() -> None:
    time = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 400 * time).astype(np.float32)
    fast = augment.change_speed(tone, 1.25)
    assert len(fast) == pytest.approx(RATE / 1.25, abs=1)
    peak = np.argmax(np.abs(np.fft.rfft(fast))) * RATE / len(fast)
    assert peak == pytest.approx(500, abs=2)


def test_pitch_shift_moves_f0_alone() -> None:
    import pyworld

    speech = voice_like(1.0)
    higher = augment.shift_pitch(speech, 1.5, 1.0, RATE)
    f0, _ = pyworld.harvest(higher.astype(np.float64), RATE)
    assert higher.shape == speech.shape
    assert np.median(f0[f0 > 0]) == pytest.approx(210, rel=0.03)


def test_degrade_is_repeatable_bounded_and_finite(speech: NDArray[np.float32]) -> None:
    for seed in range(12):
        one = augment.degrade(speech, RATE, np.random.default_rng(seed), babble=speech[::-1])
        two = augment.degrade(speech, RATE, np.random.default_rng(seed), babble=speech[::-1])
        assert np.array_equal(one, two)
        assert one.shape == speech.shape
        assert np.isfinite(one).all()
        assert np.abs(one).max() <= 1.0
