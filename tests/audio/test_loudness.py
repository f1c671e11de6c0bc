"""Levels and loudness contours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_vc_service.audio.loudness import SILENCE_DBFS, dbfs, mix_rms
from fast_vc_service.contract import FloatArray


def tone(rate: int, seconds: float, level: float = 0.5) -> FloatArray:
    time = np.arange(round(rate * seconds)) / rate
    return (level * np.sin(2 * np.pi * 200 * time)).astype(np.float32)


def test_level_of_known_signals() -> None:
    assert dbfs(np.array([1, -1, 1, -1], np.float32)) == pytest.approx(0)
    assert dbfs(tone(16000, 1.0, 1.0)) == pytest.approx(-3.01, abs=0.01)
    assert dbfs(np.zeros(10, np.float32)) == SILENCE_DBFS
    assert dbfs(np.zeros(0, np.float32)) == SILENCE_DBFS


def test_mixing_takes_over_the_contour_of_the_source() -> None:
    rise = np.linspace(0.05, 1.0, 16000).astype(np.float32)
    source = tone(16000, 1.0) * rise
    mixed = mix_rms(tone(22050, 1.0, 0.3), 22050, source, 16000)
    assert len(mixed) == 22050
    got = np.sqrt((mixed.reshape(10, 2205) ** 2).mean(axis=1))
    wanted = np.sqrt((source.reshape(10, 1600) ** 2).mean(axis=1))
    np.testing.assert_allclose(got, wanted, rtol=0.05)


def test_amount_goes_from_own_to_source() -> None:
    own, source = tone(16000, 0.5, 0.1), tone(16000, 0.5, 0.3)
    levels = [dbfs(mix_rms(own, 16000, source, 16000, amount)) for amount in (0, 0.5, 1)]
    assert levels[0] == pytest.approx(dbfs(own), abs=1e-3)
    assert levels[1] == pytest.approx((dbfs(own) + dbfs(source)) / 2, abs=0.1)
    assert levels[2] == pytest.approx(dbfs(source), abs=0.1)


def test_silence_is_not_turned_into_noise_nor_noise_into_speech() -> None:
    hiss = (1e-4 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    assert dbfs(mix_rms(hiss, 16000, tone(16000, 1.0), 16000)) < dbfs(hiss) + 12.1
    assert dbfs(mix_rms(tone(16000, 1.0), 16000, np.zeros(16000, np.float32), 16000)) < -55


@given(n=st.integers(0, 3000), m=st.integers(0, 3000), amount=st.floats(0, 1))
def test_always_finite_and_as_long_as_the_converted(n: int, m: int, amount: float) -> None:
    mixed = mix_rms(np.ones(n, np.float32), 24000, np.ones(m, np.float32), 16000, amount)
    assert len(mixed) == n
    assert mixed.dtype == np.float32
    assert np.isfinite(mixed).all()
