"""What lies below speech changes nothing over the socket either, as it changes nothing in files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import pytest
from service import ROOT, RunningService
from test_first_words import converse

from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import FloatArray
from speech_frames import dbfs, is_pause, is_speech, power

RATE = 16_000
LEVEL_DB = 0.5
QUIET_DBFS = -60.0

DISTURBANCES = {
    "DC +0.3": lambda time_s: np.full_like(time_s, 0.3),
    "DC -0.05": lambda time_s: np.full_like(time_s, -0.05),
    "50 Hz": lambda time_s: 2**0.5 * 10 ** (-29 / 20) * np.sin(2 * np.pi * 50 * time_s),
    "60 Hz": lambda time_s: 2**0.5 * 10 ** (-29 / 20) * np.sin(2 * np.pi * 60 * time_s),
}


@cache
def source() -> FloatArray:
    """Speech of -23 dBFS between silences."""
    audio, rate = read_audio(ROOT / "wavs" / "sources" / "british-male-16k.wav")
    speech = resample(audio[: round(2.5 * rate)], rate, RATE)
    speech *= 10 ** (-23 / 20) / np.sqrt(power(speech)[is_speech(speech)].mean())
    silence = np.zeros(RATE, np.float32)
    return np.concatenate([silence[: RATE // 2], speech, silence])


def check(service: RunningService, dialect: str, kinds: Iterable[str]) -> None:
    clean = source()
    time_s = np.arange(len(clean)) / RATE
    speech, pause = is_speech(clean), is_pause(clean)
    assert pause.sum() > 40
    said, _ = converse(service, dialect, clean)
    before = dbfs(power(said)[speech])
    for kind in kinds:
        heard = clean + DISTURBANCES[kind](time_s)
        out, _ = converse(service, dialect, heard.astype(np.float32))
        assert dbfs(power(out)[speech]) == pytest.approx(before, abs=LEVEL_DB), kind
        assert dbfs(power(out)[pause]) < QUIET_DBFS, kind


def test_speech_with_a_disturbance_is_as_loud_and_its_pauses_as_quiet(
    default_service: RunningService,
) -> None:
    check(default_service, "standard", ("DC +0.3", "60 Hz"))


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["standard", "simple"])
def test_speech_with_any_disturbance_in_either_dialect(
    default_service: RunningService, dialect: str
) -> None:
    check(default_service, dialect, DISTURBANCES)


def test_a_disturbance_alone_is_not_heard_and_has_no_register(
    default_service: RunningService,
) -> None:
    # No whole number of blocks: the end is padded.
    time_s = np.arange(RATE + 1234) / RATE
    heard = sum(DISTURBANCES[kind](time_s) for kind in ("DC -0.05", "50 Hz"))
    out, learned = converse(default_service, "standard", np.asarray(heard, np.float32))
    assert len(out) == len(time_s)
    assert 10 * np.log10(power(out).max() + 1e-20) < QUIET_DBFS
    assert learned is None
