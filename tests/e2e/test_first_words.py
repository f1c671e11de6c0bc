"""First words in the right register: the speaker's is told at the start, and learned."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from service import ROOT, RunningService
from test_websocket import buzz, from_pcm16, hear, pcm16, refusal, rest, say

from fast_vc_service.audio.f0 import median_f0_hz
from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.register import semitones
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import FloatArray

RATE = 16_000
FIRST_S = 0.5
"""Seconds of voiced speech that are looked at."""

OPENINGS = {"standard": {"type": "config", "realtime": False}, "simple": {"signal": "start"}}
ENDS = {"standard": {"type": "end"}, "simple": {"signal": "end"}}


@cache
def speech(name: str, seconds: float = 4.0) -> FloatArray:
    audio, rate = read_audio(ROOT / "wavs" / "sources" / f"{name}.wav")
    return resample(audio[: round(seconds * rate)], rate, RATE)


def converse(
    service: RunningService, dialect: str, audio: FloatArray, **options: Any
) -> tuple[FloatArray, float | None]:
    """What comes back of ``audio``, and the register that is told at the end."""
    with service.connect() as ws:
        say(ws, **OPENINGS[dialect], **options)
        for start in range(0, len(audio), RATE // 10):
            ws.send(pcm16(audio[start : start + RATE // 10]))
        say(ws, **ENDS[dialect])
        payloads, texts, code = rest(ws)
    assert code == 1000
    last = texts[-1]
    return from_pcm16(b"".join(payloads)), last.get("stats", last)["source_f0_hz"]


def f0_of(audio: FloatArray) -> np.ndarray:
    """Median F0 in Hz ``[T]`` around each 10 ms; 0 where unvoiced."""
    from fast_vc_service.models.world.analysis import HOP, analyse

    return np.asarray(analyse(audio).f0_hz[:: RATE // 100 // HOP])


def shift_of_first_words(source: FloatArray, out: FloatArray) -> float:
    """Semitones by which the first half second of voiced speech was moved (median)."""
    before, after = f0_of(source), f0_of(out)
    voiced = np.flatnonzero((before > 0) & (after > 0))[: round(100 * FIRST_S)]
    return float(np.median(12 * np.log2(after[voiced] / before[voiced])))


def right_shift(source: FloatArray, voice: str) -> float:
    """Semitones between the register of a whole clip and that of a voice's."""
    audio, rate = read_audio(ROOT / "wavs" / "references" / f"{voice}.wav")
    there, here = median_f0_hz([audio], rate), median_f0_hz([source], RATE)
    assert there is not None
    assert here is not None
    return semitones(there, here)


@pytest.mark.parametrize(
    ("dialect", "name", "voice"),
    [
        ("standard", "low-pitched-male-24k", "soprano"),
        ("simple", "high-pitched-female-24k", "tenor"),
    ],
)
def test_who_is_known_is_in_the_right_register_at_once(
    default_service: RunningService, dialect: str, name: str, voice: str
) -> None:
    source = speech(name)
    wanted = right_shift(source, voice)
    # A first session learns it; the next one is told what that has learned.
    _, learned = converse(default_service, dialect, source, voice=voice)
    measured = median_f0_hz([source], RATE)
    assert learned is not None
    assert measured is not None
    assert abs(semitones(learned, measured)) < 1.5
    out, again = converse(default_service, dialect, source, voice=voice, source_f0_hz=learned)
    assert shift_of_first_words(source, out) == pytest.approx(wanted, abs=2.0)
    assert again is not None
    assert abs(semitones(again, measured)) < 1.5


@pytest.mark.slow
def test_what_is_told_is_used_from_the_first_word_and_no_longer_than_it_is_right(
    default_service: RunningService,
) -> None:
    """A register that is an octave wrong is heard at first, and given up."""
    source = speech("low-pitched-male-24k", 12.0)
    measured = median_f0_hz([source], RATE)
    assert measured is not None
    right, _ = converse(default_service, "standard", source, source_f0_hz=measured, voice="alto")
    wrong, learned = converse(
        default_service, "standard", source, source_f0_hz=2 * measured, voice="alto"
    )
    apart = shift_of_first_words(source, wrong) - shift_of_first_words(source, right)
    assert -13.0 < apart < -2.0
    before, one, other = f0_of(source), f0_of(right), f0_of(wrong)
    voiced = np.flatnonzero((before > 0) & (one > 0) & (other > 0))
    later = voiced[np.cumsum(before > 0)[voiced] > 300]
    assert len(later) > 30
    assert abs(np.median(12 * np.log2(other[later] / one[later]))) < 2.0
    assert learned is not None
    assert abs(semitones(learned, measured)) < 2.0


@pytest.mark.parametrize("dialect", ["standard", "simple"])
def test_less_than_half_a_second_of_voice_tells_nothing(
    default_service: RunningService, dialect: str
) -> None:
    assert converse(default_service, dialect, np.zeros(RATE, np.float32))[1] is None
    assert converse(default_service, dialect, buzz(RATE // 4))[1] is None


def test_passthrough_needs_no_register(passthrough: RunningService) -> None:
    out, learned = converse(passthrough, "simple", buzz(RATE), source_f0_hz=120)
    assert len(out) == RATE
    assert learned is None


@pytest.mark.parametrize("value", [49, 1_101, "120", True])
def test_a_register_out_of_range_is_refused(passthrough: RunningService, value: object) -> None:
    with passthrough.connect() as ws:
        say(ws, type="config", source_f0_hz=value)
        text, code = refusal(ws)
    assert (text["error_code"], code) == ("INVALID_CONFIG", 4400)
    assert text["message"].startswith("source_f0_hz ")
    with passthrough.connect() as ws:
        say(ws, signal="start", source_f0_hz=value)
        assert hear(ws)["error_msg"].startswith("source_f0_hz ")
