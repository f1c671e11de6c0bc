"""First words: the shift that is applied to them against the one that the whole clip asks for.

    python -m benchmarks.onset --root DIR

Each speaker's clip goes through a converter block by block. What is compared is the register that
a block was converted with, and the median F0 of the whole clip as an offline tracker finds it
(``audio/f0``): their distance is by how much the converted voice lies too high or too low. Three
ways: live and unknown; live, with the register told beforehand (``source_f0_hz``); and as a file,
which is measured first. The speakers are two of the repository's (a creaky and a whispery voice)
and people of the recipe's recordings, half of them low and half of them high.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import tables
from benchmarks.results import RESULTS, ROOT, save
from fast_vc_service.audio.f0 import median_f0_hz
from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.register import Register, semitones
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, FloatArray, State, Voice
from fast_vc_service.engine.families import build_converter
from training.evaluation import clips
from training.paths import DEFAULT_ROOT

VOICED_S = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Seconds of voiced speech after which the register is looked at."""

LIVE_MEDIAN = (3.0, 3.0, 2.0, 1.2, 0.8)
LIVE_P90 = (8.0, 7.0, 5.0, 3.0, 2.0)
"""Semitones that live sessions of unknown speakers may be off, by the median speaker and by the
second worst of twenty."""

FASTEST = 12.0
"""Semitones a second by which the shift may change from the first word on."""

FILE_MOST = 0.3
"""Semitones that a file may be off, from its first frame."""

BOUNDARY_HZ = 165.0
"""Between low and high registers."""

_EACH = 9
_OWN = ("low-pitched-male-24k", "whispery-female-22k")
_SECONDS = 12.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Speaker:
    """Who speaks.

    Attributes:
        name: Of the person.
        audio: Speech ``[n]`` at 16 kHz.
        f0_hz: Median F0 of all of it.
    """

    name: str
    audio: FloatArray
    f0_hz: float


def of_files(paths: Iterable[Path]) -> list[Speaker]:
    """Return the speakers of audio files that have a register."""
    speakers = []
    for path in paths:
        audio, rate = read_audio(path)
        speakers += _speaker(path.stem, resample(audio, rate, SAMPLE_RATE_IN))
    return speakers


def of_people(root: Path, each: int = _EACH) -> list[Speaker]:
    """Return ``each`` low and as many high speakers of the recipe's two sets, one clip a person.

    Raises:
        training.evaluation.clips.EvaluationSetError: They are not there.
    """
    library = clips.Library(root / "real")
    people: dict[str, Speaker] = {}
    for draw in clips.DRAWS.values():
        for clip in clips.load(draw.path):
            if clip.person not in people:
                for speaker in _speaker(clip.person, library.read(clip)):
                    people[clip.person] = speaker
    ordered = sorted(people.values(), key=lambda speaker: speaker.name)
    low = [speaker for speaker in ordered if speaker.f0_hz < BOUNDARY_HZ]
    high = [speaker for speaker in ordered if speaker.f0_hz >= BOUNDARY_HZ]
    return low[:each] + high[:each]


def _speaker(name: str, audio: FloatArray) -> list[Speaker]:
    audio = audio[: round(_SECONDS * SAMPLE_RATE_IN)]
    f0_hz = median_f0_hz([audio], SAMPLE_RATE_IN)
    return [] if f0_hz is None else [Speaker(name, audio, f0_hz)]


@dataclass(frozen=True)
class FirstWords:
    """How a speaker's first words were converted.

    Attributes:
        off: Semitones that they are off at each of :data:`VOICED_S`; None where the clip has
            less voiced speech.
        fastest: Semitones a second by which the shift changed at most from block to block, the
            first with a voice the first of them.
    """

    off: list[float | None]
    fastest: float


def first_words(
    converter: Converter, voice: Voice, speaker: Speaker, source_f0_hz: float | None
) -> FirstWords:
    """Convert the first words of a speaker whose register is told beforehand, or is not."""
    state = converter.new_state(voice, source_f0_hz=source_f0_hz)
    used: list[Register] = []
    blocks = -(-(len(speaker.audio) + converter.delay) // converter.block)
    padded = np.pad(speaker.audio, (0, blocks * converter.block - len(speaker.audio)))
    for block in padded.astype(np.float32).reshape(blocks, 1, converter.block):
        converter.step(block, [state])
        used.append(register_of(state))
        if used[-1].voiced_s >= VOICED_S[-1]:
            break
    off: list[float | None] = []
    for voiced_s in VOICED_S:
        # A block is converted with what is known at its end.
        at = next((each for each in used if each.voiced_s >= voiced_s - 1e-6), None)
        f0_hz = None if at is None else math.exp(at.median_log_f0)
        off.append(None if f0_hz is None else abs(semitones(f0_hz, speaker.f0_hz)))
    spoken = [12.0 / math.log(2.0) * each.median_log_f0 for each in used if each.voiced_s]
    block_s = converter.block / SAMPLE_RATE_IN
    return FirstWords(off, float(np.abs(np.diff(spoken)).max(initial=0.0)) / block_s)


def register_of(state: State) -> Register:
    """Return the register of a session of a family that has one."""
    register: Register = getattr(getattr(state, "memory", state), "register")  # noqa: B009
    return register


def summary(spoken: Sequence[FirstWords]) -> dict[str, Any]:
    """Return median and 90th percentile over speakers at each of :data:`VOICED_S`, and more."""
    columns = [
        [value for value in column if value is not None]
        for column in zip(*(each.off for each in spoken), strict=True)
    ]
    return {
        "median": [round(float(np.median(column)), 2) for column in columns],
        "p90": [round(float(np.percentile(column, 90)), 2) for column in columns],
        "fastest": round(max(each.fastest for each in spoken), 2),
        "speakers": [each.off for each in spoken],
    }


def measure(engine: str, speakers: Sequence[Speaker]) -> dict[str, Any]:
    """Send every speaker through an engine in each of the three ways."""
    live, file = build_converter(engine), build_converter(engine, geometry="file")
    audio, rate = read_audio(ROOT / "wavs" / "references" / "alto.wav")
    voice = live.make_voice("alto", audio, rate)
    ways: Mapping[str, list[FirstWords]] = {"live": [], "known": [], "file": []}
    for speaker in speakers:
        ways["live"].append(first_words(live, voice, speaker, None))
        ways["known"].append(first_words(live, voice, speaker, speaker.f0_hz))
        ways["file"].append(first_words(file, voice, speaker, speaker.f0_hz))
    return {way: summary(spoken) for way, spoken in ways.items()}


@app.command()
def main(
    root: Annotated[Path, typer.Option(help="Folder of all stages of the recipe.")] = DEFAULT_ROOT,
    engine: Annotated[list[str], typer.Option(help="May be repeated.")] = ["nano", "world"],  # noqa: B006
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
) -> None:
    """Measure first words and write them to the results."""
    own = of_files(ROOT / "wavs" / "sources" / f"{name}.wav" for name in _OWN)
    try:
        speakers = own + of_people(root)
    except clips.EvaluationSetError as error:
        typer.echo(f"benchmarks.onset: {error}", err=True)
        raise typer.Exit(1) from error
    path = save(
        "onset",
        output,
        voiced_s=VOICED_S,
        speakers={speaker.name: round(speaker.f0_hz, 1) for speaker in speakers},
        engines={name: measure(name, speakers) for name in engine},
    )
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
