"""Converts, listens and counts; everything it makes is kept, so that it goes on where it was."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from training.evaluation import report
from training.evaluation.analysis import Analysis, Listeners, analysed
from training.evaluation.borders import places
from training.evaluation.clips import SAMPLE_RATE_HZ, Clip, Library, Pair
from training.evaluation.score import cosine, score
from training.evaluation.systems import System

FloatArray = NDArray[np.float32]
Tell = Callable[[str], None]

_TOOLS = ("faster-whisper", "ctranslate2", "resemblyzer", "speechmos", "pyworld-prebuilt")


class MissingPairsError(RuntimeError):
    """Other workers have not finished."""


@dataclass(frozen=True)
class Evaluation:
    """What all systems are measured on and by.

    Attributes:
        folder: ``ROOT/evaluation``; outputs and what was heard in them are kept there.
        pairs: to be measured.
    """

    folder: Path
    library: Library
    listeners: Listeners
    pairs: Sequence[Pair]

    def of_clip(self, clip: Clip) -> Analysis:
        """What is heard in a clip of the set."""
        speech = self.library.read(clip)
        path = self.folder / "clips" / clip.name
        return analysed(self.listeners, speech, clip.language, [], path)

    def of_output(self, system: System, pair: Pair, make: bool = True) -> Analysis:
        """What is heard in an output, which is made first where it is not there yet.

        Raises:
            MissingPairsError: it is not there and ``make`` is False.
        """
        name = pair.name if system.uses_reference else pair.source.name
        path = self.folder / system.folder / system.fingerprint / f"{name}.flac"
        if not path.is_file():
            if not make:
                raise MissingPairsError(f"{system.name}: {name} is not converted yet")
            self._convert(system, pair, path)
        output, _ = soundfile.read(path, dtype="float32")
        borders = places(len(output), system.block, system.delay)
        return analysed(self.listeners, output, pair.source.language, borders, path)

    def _convert(self, system: System, pair: Pair, path: Path) -> None:
        source, reference = self.library.read(pair.source), self.library.read(pair.reference)
        output = system.convert(source, reference)
        if len(output) != len(source):
            raise ValueError(f"{system.name}: {len(output)} samples of {len(source)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".partial-{os.getpid()}")
        soundfile.write(partial, np.clip(output, -1, 1), SAMPLE_RATE_HZ, "PCM_16", format="FLAC")
        partial.replace(path)

    def run(self, system: System, worker: int, workers: int, tell: Tell) -> None:
        """Convert and listen to every ``workers``-th pair, telling progress."""
        mine = self.pairs[worker::workers]
        started = time.monotonic()
        for number, pair in enumerate(mine, 1):
            self.of_output(system, pair)
            if number % 5 == 0 or number == len(mine):
                pace = (time.monotonic() - started) / number
                tell(f"{system.name}: {number} of {len(mine)} pairs, {pace:.1f} s a pair")

    def scores(self, system: System) -> list[dict[str, float]]:
        """The scores of all pairs.

        Raises:
            MissingPairsError: not all are converted.
        """
        rows = []
        for pair in self.pairs:
            output = self.of_output(system, pair, make=False)
            clips = (self.of_clip(clip) for clip in (pair.source, pair.target, pair.other))
            rows.append(score(output, *clips))
        return rows

    def people(self) -> dict[str, dict[str, float]]:
        """Similarity of two recordings of one person, and of recordings of two persons."""
        recorded = {
            pair.reference.person: (self.of_clip(pair.reference), self.of_clip(pair.target))
            for pair in self.pairs
        }
        result = {}
        for title, verifier in (("SECS", "resemblyzer"), ("CAM++", "campplus")):
            same = [
                cosine(getattr(first, verifier), getattr(second, verifier))
                for first, second in recorded.values()
            ]
            different = [
                cosine(getattr(first[0], verifier), getattr(second[1], verifier))
                for first, second in itertools.permutations(recorded.values(), 2)
            ]
            if different and not np.isnan(same + different).any():
                result[title] = {
                    "same": round(float(np.mean(same)), 4),
                    "different": round(float(np.mean(different)), 4),
                }
        return result

    def summary(self, systems: Sequence[System]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The report, and the scores of every pair of every system.

        Raises:
            MissingPairsError: not all pairs are converted.
        """
        scores = {system.name: self.scores(system) for system in systems}
        rows = []
        for system in systems:
            own = scores[system.name]
            row: dict[str, Any] = {
                "name": system.name,
                "block_ms": 1e3 * system.block / SAMPLE_RATE_HZ if system.latency_ms else None,
                "latency_ms": system.latency_ms,
                "metrics": report.estimates(self.pairs, own),
                "against": {
                    other.name: report.differences(self.pairs, own, scores[other.name])
                    for other in systems
                    if other is not system and _is_baseline(other, system)
                },
                "cer_by_language": report.by_language(self.pairs, own),
                "by_sexes": report.by_sexes(self.pairs, own),
            }
            rows.append(row)
        content = {
            "pairs": len(self.pairs),
            "sources": len({pair.source.name for pair in self.pairs}),
            "references": len({pair.reference.name for pair in self.pairs}),
            "bootstrap": report.METHOD,
            "whisper": Path(self.listeners.whisper_model).name,
            "tools": _versions(),
            "people": self.people(),
            "systems": rows,
        }
        everything = {
            name: [
                {"pair": pair.name, **{key: round(float(value), 5) for key, value in row.items()}}
                for pair, row in zip(self.pairs, own, strict=True)
            ]
            for name, own in scores.items()
        }
        return content, everything


def _is_baseline(other: System, system: System) -> bool:
    """Whether the difference to ``other`` says something: a baseline, or the other geometry."""
    same_engine = other.name.split(":")[0] == system.name.split(":")[0]
    return not other.uses_reference or (same_engine and other.name.endswith(":file"))


def _versions() -> dict[str, str]:
    """Of the listening tools that are installed."""
    found = {}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
