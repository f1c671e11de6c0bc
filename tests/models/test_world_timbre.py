from __future__ import annotations

import math

import numpy as np
import pytest

from fast_vc_service.models.world.analysis import BINS
from fast_vc_service.models.world.timbre import (
    BANDS,
    EQUALISER_LIMIT,
    FROZEN_S,
    TRACT_RATIO_LIMIT,
    SpeakerSpectrum,
    band_gain_to_bins,
    band_spectra,
    equaliser,
    tract_ratio,
)


def vowel(stretch: float) -> np.ndarray:
    """Log envelope ``[BINS]`` with three formants, moved by ``stretch``."""
    hz = np.linspace(0, 8000, BINS)
    formants = [(500, 80, 5.0), (1500, 120, 4.0), (2500, 180, 3.0)]
    peaks = sum(a * np.exp(-(((hz / stretch - f) / (3 * w)) ** 2)) for f, w, a in formants)
    return np.asarray(peaks - hz / 1500)


def long_term(stretch: float) -> np.ndarray:
    return band_spectra(vowel(stretch)[None])[0]


@pytest.mark.parametrize("ratio", [0.85, 1.0, 1.15])
def test_tract_ratio_is_found_when_both_say_the_same(ratio: float) -> None:
    log_register_ratio = math.log(ratio) / 0.22
    found = tract_ratio(long_term(1.0), long_term(ratio), log_register_ratio)
    assert found == pytest.approx(ratio, rel=0.03)


def test_tract_ratio_follows_the_register_when_spectra_say_nothing() -> None:
    flat = np.zeros(BANDS)
    assert tract_ratio(flat, flat, 0.0) == pytest.approx(1.0, abs=1e-6)
    assert 1.1 < tract_ratio(flat, flat, math.log(1.9)) < 1.2
    assert tract_ratio(flat, flat, 9.0) <= TRACT_RATIO_LIMIT


def test_equaliser_leads_to_the_target_and_is_bounded() -> None:
    source, target = long_term(1.0), long_term(1.0) + np.linspace(1, -1, BANDS)
    gain = equaliser(source, target, 1.0)
    np.testing.assert_allclose(gain[1:-1], np.linspace(1, -1, BANDS)[1:-1], atol=0.02)
    extreme = equaliser(source, np.where(np.arange(BANDS) < 16, 50.0, -50.0), 1.0)
    assert np.abs(extreme).max() == pytest.approx(EQUALISER_LIMIT)
    assert band_gain_to_bins(extreme).shape == (BINS,)


def test_running_spectrum_starts_neutral_learns_and_freezes() -> None:
    spoken = np.full((400, BANDS), 3.0)  # two seconds
    spectrum = SpeakerSpectrum()
    distance = [np.abs(spectrum.mean - 3.0).max()]
    while spectrum.voiced_s < FROZEN_S:
        spectrum = spectrum.heard(spoken)
        distance.append(np.abs(spectrum.mean - 3.0).max())
    assert np.all(np.diff(distance) < 0)
    assert distance[-1] < 0.2 * distance[0]
    assert spectrum.heard(-spoken) is spectrum
    fresh = SpeakerSpectrum()
    assert fresh.heard(np.zeros((0, BANDS))) is fresh


def test_running_spectrum_does_not_depend_on_how_frames_are_cut() -> None:
    frames = np.random.default_rng(0).normal(size=(60, BANDS))
    whole = SpeakerSpectrum().heard(frames)
    parts = SpeakerSpectrum().heard(frames[:13]).heard(frames[13:])
    np.testing.assert_allclose(whole.mean, parts.mean, atol=1e-12)
