"""What is said is as loud as it was: quiet and loud sources, from the first second on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, FloatArray, Voice
from fast_vc_service.engine.families import build_converter
from fast_vc_service.engine.stream import convert_offline
from training.evaluation.level import active_level_dbfs

WAVS = Path(__file__).parents[2] / "wavs"
RATE = SAMPLE_RATE_IN
FRAME = RATE // 50
ENGINES = ("nano", "world")
LEVELS_DBFS = (-45.0, -35.0, -23.0, -14.0)
MEDIAN_DB, MOST_DB = 1.0, 3.0

SOURCES = sorted(path.stem for path in (WAVS / "sources").glob("*.wav"))
REFERENCES = sorted(path.stem for path in (WAVS / "references").glob("*.wav"))
SOME = tuple(zip(SOURCES[:4], REFERENCES[1:5], strict=True))


@cache
def converter_of(engine: str, geometry: str) -> Converter:
    return build_converter(engine, geometry="file" if geometry == "file" else "live")


@cache
def voice_of(engine: str, reference: str) -> Voice:
    audio, rate = read_audio(WAVS / "references" / f"{reference}.wav")
    return converter_of(engine, "live").make_voice(reference, audio, rate)


@cache
def source(name: str, seconds: float) -> FloatArray:
    """Speech with an active level of 0 dBFS, from its onset on."""
    audio, rate = read_audio(WAVS / "sources" / f"{name}.wav")
    heard = resample(audio, rate, RATE)
    power = np.square(heard[: len(heard) // FRAME * FRAME]).reshape(-1, FRAME).mean(1)
    onset = int(np.argmax(power > 1e-3 * power.max())) * FRAME
    speech = heard[onset : onset + round(seconds * RATE)]
    return np.asarray(speech * 10 ** (-active_level_dbfs(speech, RATE) / 20), np.float32)


def at_level(name: str, seconds: float, dbfs: float) -> FloatArray:
    return np.asarray(np.clip(source(name, seconds) * 10 ** (dbfs / 20), -1, 1), np.float32)


@cache
def levels(
    engine: str, geometry: str, name: str, reference: str, seconds: float, dbfs: float
) -> tuple[float, float]:
    """Active level of the output less the input's, dB: of the whole, and of the first second."""
    heard = at_level(name, seconds, dbfs)
    converter = converter_of(engine, geometry)
    said = convert_offline(converter, voice_of(engine, reference), heard, RATE, RATE)
    whole, first = (
        active_level_dbfs(said[:count], RATE) - active_level_dbfs(heard[:count], RATE)
        for count in (len(heard), RATE)
    )
    return whole, first


def check(
    engine: str,
    geometry: str,
    pairs: tuple[tuple[str, str], ...],
    seconds: float,
    levels_dbfs: tuple[float, ...] = LEVELS_DBFS,
) -> None:
    measured = np.array(
        [[levels(engine, geometry, *pair, seconds, dbfs) for dbfs in levels_dbfs] for pair in pairs]
    )
    whole, first = measured[..., 0], measured[..., 1]
    assert np.abs(np.median(whole, 0)).max() < MEDIAN_DB
    assert np.abs(whole).max() < MOST_DB
    assert np.abs(first).max() < MOST_DB


@pytest.mark.parametrize("engine", ENGINES)
def test_quiet_and_loud_speech_is_as_loud_as_it_was(engine: str) -> None:
    check(engine, "live", SOME[:2], 2.0, (LEVELS_DBFS[0], LEVELS_DBFS[-1]))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("geometry", ["live", "file"])
def test_every_source_in_every_voice_at_every_level(engine: str, geometry: str) -> None:
    pairs = tuple(
        (name, REFERENCES[(row + shift) % len(REFERENCES)])
        for row, name in enumerate(SOURCES)
        for shift in (0, 3, 5)
    )
    check(engine, geometry, pairs, 6.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_5_db_louder_comes_out_5_db_louder(engine: str) -> None:
    name, reference = SOME[0]
    for dbfs in (-45.0, -23.0):
        quiet, loud = (
            convert_offline(
                converter_of(engine, "live"),
                voice_of(engine, reference),
                at_level(name, 2.0, dbfs + more),
                RATE,
                RATE,
            )
            for more in (0.0, 5.0)
        )
        for count in (RATE // 2, len(quiet)):
            gained = active_level_dbfs(loud[:count], RATE) - active_level_dbfs(quiet[:count], RATE)
            assert gained == pytest.approx(5.0, abs=0.5)


@pytest.mark.parametrize("engine", ENGINES)
def test_who_comes_closer_while_speaking_gets_louder(engine: str) -> None:
    """The level is kept, not evened out: 10 dB more from the middle on are 10 dB more."""
    name, reference = SOME[1]
    heard = at_level(name, 6.0, -33.0)
    middle = len(heard) // 2
    closer = heard.copy()
    closer[middle:] *= np.float32(10**0.5)
    even, risen = (
        convert_offline(
            converter_of(engine, "live"), voice_of(engine, reference), audio, RATE, RATE
        )
        for audio in (heard, closer)
    )
    for part in (slice(middle, middle + RATE), slice(middle + RATE, None)):
        gained = active_level_dbfs(risen[part], RATE) - active_level_dbfs(even[part], RATE)
        assert gained == pytest.approx(10.0, abs=1.5)
