from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_vc_service.models.world.analysis import BINS, FFT_SIZE, HOP, mean_square
from fast_vc_service.models.world.synthesis import (
    minimum_phase,
    noise,
    pulse_phase,
    pulse_train,
    synthesise,
)


@given(st.integers(-20_000, 20_000), st.integers(1, 4_000), st.integers(0, 4_000))
def test_noise_is_a_function_of_seed_and_position(start: int, count: int, ahead: int) -> None:
    whole = noise(5, start, ahead + count)
    np.testing.assert_array_equal(whole[ahead:], noise(5, start + ahead, count))
    assert not np.array_equal(whole, noise(6, start, ahead + count))


def test_noise_is_white_and_of_unit_power() -> None:
    sample = noise(-1, 10**9, 64_000)
    assert np.mean(sample**2) == pytest.approx(1.0, abs=0.02)
    assert abs(np.mean(sample[1:] * sample[:-1])) < 0.02


def test_phase_goes_through_its_anchor_and_advances_by_f0() -> None:
    f0_hz = np.full(21, 125.0)
    phase = pulse_phase(f0_hz, 1600, anchor=700, phase=0.25)
    assert phase[700] == pytest.approx(0.25)
    np.testing.assert_allclose(np.diff(phase), 125 / 16_000)
    assert np.all(pulse_phase(np.zeros(21), 1600, 700, 0.25) == 0.25)


@pytest.mark.parametrize("f0_hz", [60.0, 203.0, 700.0])
def test_pulses_have_unit_power_and_the_right_number(f0_hz: float) -> None:
    phase = pulse_phase(np.full(401, f0_hz), 32_000, 0, 0.5)
    train = pulse_train(phase)
    assert np.mean(train**2) == pytest.approx(1.0, abs=0.06)
    harmonics = np.abs(np.fft.rfft(train * np.hanning(len(train))))
    assert np.argmax(harmonics[20:1500]) + 20 == pytest.approx(2 * f0_hz, abs=1)


def test_no_pulses_without_f0() -> None:
    assert not pulse_train(np.full(800, 0.25)).any()


def test_minimum_phase_keeps_the_envelope_and_leads_with_its_energy() -> None:
    log_power = np.cos(np.linspace(0, 9, BINS))[None]
    spectrum = minimum_phase(log_power)
    np.testing.assert_allclose(np.abs(spectrum) ** 2, np.exp(log_power), rtol=1e-3)
    response = np.fft.irfft(spectrum[0], FFT_SIZE)
    assert np.sum(response[:50] ** 2) > 0.99 * np.sum(response**2)


def test_output_has_the_power_of_its_envelope() -> None:
    frames = 401
    count = (frames - 1) * HOP
    log_power = np.tile(np.log(0.01) - np.linspace(0, 6, BINS), (frames, 1))
    expected = mean_square(np.exp(log_power))[0]
    white = noise(0, 0, count)
    pulses = pulse_train(pulse_phase(np.full(frames, 150.0), count, 0, 0.0))
    for aperiodicity in (0.0, 0.7, 1.0):
        out = synthesise(pulses, white, log_power, np.full((frames, BINS), aperiodicity))
        assert out.shape == (count,)
        assert np.mean(out[1000:] ** 2) == pytest.approx(expected, rel=0.12)
