"""Render parallel speech: one sentence, one melody, several sample-aligned speakers.

Every utterance depends on (seed, index) alone, so a run can be stopped and resumed at any time and
gives the same files.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from training.data.corpus import Sentence
from training.data.kokoro import SAMPLE_RATE_HZ, Content, Kokoro
from training.data.phonemes import tokens
from training.data.voices import Recipe, VoiceBank, native_recipe, random_recipe

FloatArray = NDArray[np.float32]

EVALUATION_EVERY = 25
"""One utterance in so many has a held-out text spoken by held-out voices."""

NATIVE_PROSODY_SHARE = 0.7
SPEAKERS = {"train": 250, "eval": 24}
"""Each speaker says several utterances, so that one can be the reference for another."""

OWN_TIMBRE_SHARE = 0.35
UNVOICED_HZ, VOICED_HZ, MAX_HZ = 20.0, 50.0, 600.0
PEAK = 0.89

LANGUAGE_SHARES = {
    "en-us": 0.16,
    "zh": 0.25,
    "en-gb": 0.08,
    "ja": 0.08,
    "fr": 0.10,
    "es": 0.10,
    "hi": 0.08,
    "it": 0.08,
    "pt": 0.07,
}


@dataclass(frozen=True)
class Plan:
    """All random choices of one utterance."""

    index: int
    split: str
    sentence: Sentence
    prosody: Recipe
    speed: float
    speakers: tuple[Recipe, ...]
    f0_spread: tuple[float, ...]
    f0_offset: tuple[float, ...]


class Planner:
    """Chooses text and speakers of an utterance from its index."""

    def __init__(self, corpus: Sequence[Sentence], bank: VoiceBank, seed: int, styles: int) -> None:
        self._seed = seed
        self._styles = styles
        train, held_out = bank.split(seed)
        self._names = {"train": train, "eval": held_out}
        self._speakers = {
            split: [
                random_recipe(names, np.random.default_rng([seed, len(names), number]))
                for number in range(SPEAKERS[split])
            ]
            for split, names in self._names.items()
        }
        self._texts: dict[tuple[str, str], list[Sentence]] = {}
        for sentence in corpus:
            self._texts.setdefault((sentence.split, sentence.language), []).append(sentence)

    def plan(self, index: int) -> Plan:
        """The choices for utterance ``index``."""
        rng = np.random.default_rng([self._seed, index])
        split = "eval" if index % EVALUATION_EVERY == EVALUATION_EVERY - 1 else "train"
        names = self._names[split]
        languages = [name for name in LANGUAGE_SHARES if (split, name) in self._texts]
        shares = np.asarray([LANGUAGE_SHARES[name] for name in languages])
        language = str(rng.choice(languages, p=shares / shares.sum()))
        texts = self._texts[split, language]
        sentence = texts[int(rng.integers(len(texts)))]
        pool = self._speakers[split]
        native = rng.random() < NATIVE_PROSODY_SHARE
        prosody = native_recipe(names, language, rng) if native else _choose(pool, 1, rng)[0]
        speakers = _choose(pool, self._styles, rng)
        if rng.random() < OWN_TIMBRE_SHARE:
            speakers[0] = prosody
        return Plan(
            index,
            split,
            sentence,
            prosody,
            round(rng.uniform(0.85, 1.15), 3),
            tuple(speakers),
            tuple(round(rng.uniform(0.75, 1.3), 3) for _ in speakers),
            tuple(round(rng.normal(0.0, 0.06), 3) for _ in speakers),
        )


def _choose(pool: Sequence[Recipe], count: int, rng: np.random.Generator) -> list[Recipe]:
    return [pool[int(index)] for index in rng.choice(len(pool), count, replace=False)]


def median_log_f0(f0_hz: FloatArray) -> float:
    """Median of log F0 over voiced values; 5.0 (148 Hz) where there are none."""
    voiced = f0_hz[f0_hz > VOICED_HZ]
    return float(np.median(np.log(voiced))) if voiced.size else 5.0


def move_register(
    f0_hz: FloatArray, source: float, target: float, spread: float, offset: float
) -> FloatArray:
    """F0 [1, 2T] moved from one median log F0 to another; unvoiced values stay."""
    moved = np.exp((np.log(np.maximum(f0_hz, 1.0)) - source) * spread + target + offset)
    return np.where(f0_hz > UNVOICED_HZ, np.minimum(moved, MAX_HZ), f0_hz).astype(np.float32)


def render(plan: Plan, kokoro: Kokoro, bank: VoiceBank) -> tuple[FloatArray, dict[str, Any]]:
    """One utterance.

    Returns:
        Speech [600 T, speakers] at 24 kHz, and its manifest entry.
    """
    ids = tokens(plan.sentence.phonemes, kokoro.vocabulary)
    row = len(ids)
    content = kokoro.encode(ids, bank.style(plan.prosody, row), plan.speed)
    source = median_log_f0(content.f0_hz)
    channels, registers = [], []
    for speaker, spread, offset in zip(plan.speakers, plan.f0_spread, plan.f0_offset, strict=True):
        style = bank.style(speaker, row)
        # The speaker's own reading of the same text tells the register of a mixture, too.
        own: Content = kokoro.encode(ids, style, plan.speed)
        target = median_log_f0(own.f0_hz)
        f0 = move_register(content.f0_hz, source, target, spread, offset)
        channels.append(kokoro.decode(content, f0, style))
        registers.append(round(median_log_f0(f0), 4))
    speech = np.stack(channels, axis=1)
    peaks = np.maximum(np.abs(speech).max(axis=0), 1e-4)
    speech = speech * np.minimum(PEAK / peaks, 1.0).astype(np.float32)
    entry = {
        "index": plan.index,
        "split": plan.split,
        "key": plan.sentence.key,
        "language": plan.sentence.language,
        "text": plan.sentence.text,
        "tokens": ids,
        "durations": content.durations.tolist(),
        "samples": len(speech),
        "speed": plan.speed,
        "prosody": asdict(plan.prosody),
        "speakers": [asdict(speaker) for speaker in plan.speakers],
        "median_log_f0": registers,
        "peak": [round(float(peak), 4) for peak in peaks],
    }
    return speech, entry


def run(
    planner: Planner,
    kokoro: Kokoro,
    bank: VoiceBank,
    out: Path,
    hours: float,
    *,
    worker: int = 0,
    workers: int = 1,
) -> None:
    """Render until ``out`` holds ``hours`` of speech, all speakers counted.

    Writes ``out/audio/NNN/NNNNNN.flac`` (one channel a speaker), ``out/manifest*.jsonl`` and
    ``out/progress.jsonl``. Files are complete before they are named in the manifest. Of several
    workers, each renders its share of the indices and keeps a manifest of its own.
    """
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / f"manifest-{worker}.jsonl"
    _cut_unfinished_line(manifest)
    done = read_manifest(manifest)
    others = sorted(out.glob("manifest-*.jsonl"))
    finished = {entry["index"] for path in others for entry in read_manifest(path)}
    seconds = sum(entry["samples"] * len(entry["speakers"]) for entry in done) / SAMPLE_RATE_HZ
    started, made = time.monotonic(), 0.0
    with manifest.open("a", encoding="utf-8") as lines:
        for index in itertools.count(worker, workers):
            if seconds >= hours * 3600 / workers:
                break
            if index in finished:
                continue
            speech, entry = render(planner.plan(index), kokoro, bank)
            path = out / "audio" / f"{index // 1000:03d}" / f"{index:06d}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            soundfile.write(partial, speech, SAMPLE_RATE_HZ, "PCM_16", format="FLAC")
            partial.replace(path)
            entry["file"] = str(path.relative_to(out))
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
            lines.flush()
            added = speech.size / SAMPLE_RATE_HZ
            seconds, made = seconds + added, made + added
            if index // workers % 10 == 0:
                elapsed = time.monotonic() - started
                record = {
                    "time": round(time.time()),
                    "index": index,
                    "worker": worker,
                    "hours": round(seconds / 3600, 4),
                    "speech_s_per_s": round(made / elapsed, 3),
                }
                with (out / "progress.jsonl").open("a") as progress:
                    progress.write(json.dumps(record) + "\n")
                print(record, flush=True)


def read_manifest(path: Path) -> list[dict[str, Any]]:
    """Entries of a manifest that may still be growing; a line not yet complete is left out."""
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _cut_unfinished_line(path: Path) -> None:
    """Drop what a crash left of a last line, so that the next one starts well."""
    if path.is_file():
        content = path.read_bytes()
        path.write_bytes(content[: content.rfind(b"\n") + 1])
