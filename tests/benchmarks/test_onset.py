"""First words are in the right register: known and in files at once, live within bounds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.onset import (
    FILE_MOST,
    LIVE_MEDIAN,
    VOICED_S,
    Speaker,
    of_files,
    off_by,
    summary,
)
from fast_vc_service.audio.files import read_audio
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, Voice
from fast_vc_service.engine.families import build_converter

WAVS = Path(__file__).parents[2] / "wavs"
CLIPS = sorted(WAVS.glob("*/*.wav"))


@cache
def converter_of(engine: str, geometry: str) -> Converter:
    return build_converter(engine, geometry="file" if geometry == "file" else "live")


@cache
def voice_of(engine: str) -> Voice:
    audio, rate = read_audio(WAVS / "references" / "alto.wav")
    return converter_of(engine, "live").make_voice("alto", audio[: 6 * rate], rate)


@cache
def speakers() -> list[Speaker]:
    return of_files(CLIPS)


def off(
    engine: str, geometry: str, spoken: list[Speaker], *, known: bool
) -> list[list[float | None]]:
    return [
        off_by(
            converter_of(engine, geometry),
            voice_of(engine),
            speaker,
            speaker.f0_hz if known else None,
        )
        for speaker in spoken
    ]


def test_who_is_known_is_right_at_once() -> None:
    (spoken,) = of_files([WAVS / "references" / "bass.wav"])
    begun = Speaker(spoken.name, spoken.audio[: 2 * SAMPLE_RATE_IN], spoken.f0_hz)
    (row,) = off("nano", "live", [begun], known=True)
    assert row[0] is not None
    assert row[0] <= FILE_MOST
    assert max(each for each in row if each is not None) <= 1.0


def test_rows_are_summed_up_without_what_was_not_said() -> None:
    rows: list[list[float | None]] = [[1.0, 2.0], [3.0, None], [5.0, 4.0]]
    assert summary(rows) == {"median": [3.0, 3.0], "p90": [4.6, 3.8]}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["nano"])
def test_unknown_speakers_are_within_bounds(engine: str) -> None:
    found = summary(off(engine, "live", speakers(), known=False))
    assert len(found["median"]) == len(VOICED_S)
    # The offline tracker itself is no more exact than a tenth of a semitone.
    assert np.all(np.array(found["median"]) <= np.array(LIVE_MEDIAN) + 0.1), found


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["nano"])
def test_files_are_right_from_their_first_frame(engine: str) -> None:
    first = [row[0] for row in off(engine, "file", speakers(), known=True)]
    known = np.array([each for each in first if each is not None])
    assert len(known) == len(CLIPS)
    assert np.percentile(known, 90) <= FILE_MOST, known
    # Where the engine's own tracker and the offline one differ by semitones.
    assert known.max() <= 0.6, known
