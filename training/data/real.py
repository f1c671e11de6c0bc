"""Recorded speech: fetch, decode, trim, and list with licence and use in a manifest."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from training.data.source import Source
from training.data.sources import SOURCES
from training.data.tree import Tree, open_tree

FloatArray = NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
WIDE_RATE_HZ = 24_000
"""Recordings are kept at one of these rates; nothing above half of it is made up."""

MIN_S, MAX_S = 0.6, 20.0
SPEAKERS_HELD_OUT_IN, CLIPS_HELD_OUT_IN = 10, 20
SILENCE_DB = -45.0
"""Frames this far below the loudest one are trimmed from both ends."""

PAUSE_S = 0.15
"""Silence between recordings that are joined."""


class DecodeError(RuntimeError):
    """A recording could not be decoded."""


def decode(content: bytes, name: str, rate_hz: int = SAMPLE_RATE_HZ) -> FloatArray:
    """Any recording as mono float32 [samples], by libsndfile or else by ffmpeg.

    Args:
        content: of the file.
        name: of the file; its ending tells G.722, which has no header.
        rate_hz: of the result.

    Raises:
        DecodeError: with ffmpeg's own words.
    """
    if not name.endswith(".g722"):
        try:
            speech, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            pass
        else:
            return np.asarray(soxr.resample(speech.mean(1), rate, rate_hz), np.float32)
    form = ["-f", "g722"] if name.endswith(".g722") else []
    command = ["ffmpeg", "-v", "error", *form, "-i", "pipe:0", "-ac", "1"]
    command += ["-ar", str(rate_hz), "-f", "f32le", "-"]
    result = subprocess.run(command, input=content, capture_output=True, check=False)
    if result.returncode != 0:
        raise DecodeError(f"{name}: {result.stderr.decode(errors='replace').strip()}")
    return np.frombuffer(result.stdout, np.float32)


def trim(speech: FloatArray, margin_s: float = 0.1, rate_hz: int = SAMPLE_RATE_HZ) -> FloatArray:
    """Cut silence from both ends, keeping a margin."""
    frame = rate_hz // 100
    frames = len(speech) // frame
    if frames == 0:
        return speech[:0]
    power = np.square(speech[: frames * frame].reshape(frames, frame)).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (SILENCE_DB / 10))
    if loud.size == 0 or power.max() < 1e-7:
        return speech[:0]
    margin = int(margin_s * rate_hz)
    return speech[max(0, loud[0] * frame - margin) : (loud[-1] + 1) * frame + margin]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def split_of(source: Source, speaker: str, name: str) -> str:
    """``train``, ``valid`` or ``eval``.

    Held out are speakers where a source has many, by a hash of the person's name, so that one who
    occurs in two sources is held out of both; else recordings, by the file's name.
    """
    if source.use == "eval":
        return "eval"
    if source.held_out:
        return "valid" if _number(speaker) % SPEAKERS_HELD_OUT_IN == 0 else "train"
    return "valid" if _number(name) % CLIPS_HELD_OUT_IN == 0 else "train"


def _in_turns(source: Source, tree: Tree) -> list[tuple[str, re.Match[str]]]:
    """Names of recordings, one of each speaker in turn, in an order that a hash decides."""
    pattern = re.compile(source.pattern)
    speakers: dict[str, list[tuple[str, re.Match[str]]]] = {}
    for name in tree.names():
        match = pattern.search(name)
        if match is not None and "/silence/" not in name:
            speaker = source.speaker.format(**match.groupdict())
            speakers.setdefault(speaker, []).append((name, match))
    columns = [
        sorted(found, key=lambda each: _number(each[0])) for _, found in sorted(speakers.items())
    ]
    turns = itertools.zip_longest(*columns)
    return [each for turn in turns for each in turn if each is not None]


def _lines(tree: Tree, chosen: Callable[[str], bool]) -> dict[str, str]:
    """First word to the rest of each line of the chosen files."""
    rows: dict[str, str] = {}
    for name in filter(chosen, tree.names()):
        for line in tree.read(name).decode("utf-8").splitlines():
            key, _, value = line.strip().partition(" ")
            key, value = (key, value) if value else tuple([*line.split(None, 1), ""][:2])
            rows[key] = value.strip()
    return rows


class Decoder:
    """Makes the clips of one source.

    Args:
        source: whose.
        tree: its files.
        out: folder of the manifest; clips go to ``audio`` in it.
    """

    def __init__(self, source: Source, tree: Tree, out: Path) -> None:
        self._source, self._tree, self._out = source, tree, out
        self._rate_hz = WIDE_RATE_HZ if source.wide else SAMPLE_RATE_HZ
        texts = re.compile(source.texts) if source.texts else None
        self._texts = _lines(tree, lambda name: bool(texts and texts.search(name)))
        self._ages = _lines(tree, lambda name: name in source.ages)

    def clips(self, finished: set[str]) -> Iterator[dict[str, Any]]:
        """Manifest entries of clips not in ``finished``, each written before it is named."""
        waiting: dict[str, list[tuple[str, FloatArray]]] = {}
        for name, match in _in_turns(self._source, self._tree):
            if name in finished:
                continue
            speech = trim(decode(self._tree.read(name), name, self._rate_hz), rate_hz=self._rate_hz)
            speaker = self._source.speaker.format(**match.groupdict())
            parts = waiting.setdefault(speaker, [])
            parts.append((name, speech))
            joined = sum(len(part) for _, part in parts) / self._rate_hz
            if joined >= self._source.join_s:
                yield from self._write(speaker, match, waiting.pop(speaker))

    def _write(
        self, speaker: str, match: re.Match[str], parts: list[tuple[str, FloatArray]]
    ) -> Iterator[dict[str, Any]]:
        pause = np.zeros(int(PAUSE_S * self._rate_hz), np.float32)
        pieces = [piece for _, part in parts for piece in (pause, part)][1:]
        speech = np.concatenate(pieces)
        if not MIN_S <= len(speech) / self._rate_hz <= MAX_S:
            return
        source, name = self._source, parts[0][0]
        number = hashlib.sha256(f"{source.origin} {name}".encode()).hexdigest()[:12]
        file = self._out / "audio" / speaker / f"{number}.flac"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, np.clip(speech, -1, 1), self._rate_hz, "PCM_16", format="FLAC")
        age = self._ages.get(match.groupdict().get("who", ""), "")
        yield {
            "file": str(file.relative_to(self._out)),
            "name": name,
            "parts": [name for name, _ in parts],
            "origin": source.origin,
            "speaker": speaker,
            "sex": source.sex,
            "age": int(age) if age else None,
            "language": source.language,
            "licence": source.licence,
            "use": source.use,
            "split": split_of(source, speaker, name),
            "samples": round(len(speech) * SAMPLE_RATE_HZ / self._rate_hz),
            "wide": source.wide,
            "text": self._texts.get(Path(name).stem, "") if len(parts) == 1 else "",
        }


def clips_of(source: Source, out: Path) -> Path:
    """The file with the entries of one source; ``.complete`` beside it when it has all."""
    return out / "sources" / f"{source.digest}.jsonl"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Entries of a manifest that may still be growing; a line not yet complete is left out."""
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def decode_source(
    source: Source, out: Path, tree: Callable[[], Tree], minutes: float | None
) -> list[dict[str, Any]]:
    """Entries of a source; decodes what is missing up to ``minutes`` (None: all).

    Clips come in turns of the speakers, so the first minutes have them all; more minutes only add.
    """
    path = clips_of(source, out)
    path.parent.mkdir(parents=True, exist_ok=True)
    done, complete = read_lines(path), path.with_suffix(".complete")
    seconds = sum(entry["samples"] for entry in done) / SAMPLE_RATE_HZ
    if complete.is_file() or (minutes is not None and seconds >= 60 * minutes):
        return done
    path.write_text("".join(json.dumps(entry) + "\n" for entry in done), "utf-8")
    finished = {name for entry in done for name in entry["parts"]}
    with closing(tree()) as files, path.open("a", encoding="utf-8") as lines:
        for entry in Decoder(source, files, out).clips(finished):
            lines.write(json.dumps(entry) + "\n")
            lines.flush()
            done.append(entry)
            seconds += entry["samples"] / SAMPLE_RATE_HZ
            if minutes is not None and seconds >= 60 * minutes:
                return done
    complete.touch()
    return done


def _marked(entries: list[dict[str, Any]], minutes: float) -> Iterator[dict[str, Any]]:
    """Entries with ``core``: whether they are among the first ``minutes``."""
    seconds = 0.0
    for entry in entries:
        yield {**entry, "core": seconds < 60 * minutes}
        seconds += entry["samples"] / SAMPLE_RATE_HZ


def run(
    root: Path,
    mirrors: Path | None = None,
    *,
    core: bool = False,
    uses: tuple[str, ...] = ("train", "encode", "eval"),
    sources: tuple[Source, ...] = SOURCES,
) -> None:
    """Fetch and decode what is new; writes ``root/real/{manifest.jsonl,sources.json}``.

    The manifest has the core set first, shuffled by a hash, so that what follows only adds and
    any part of it has many speakers.

    Args:
        root: folder of all stages.
        mirrors: see :func:`training.data.tree.open_tree`.
        core: only the core set.
        uses: of which sources; the manifest keeps what is there of the others.
        sources: the table.
    """
    out = root / "real"
    out.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    for source in sources:
        minutes = source.core_minutes if core and source.use != "eval" else None

        def tree(source: Source = source) -> Tree:
            return open_tree(source, root, mirrors)

        if source.use in uses:
            found = decode_source(source, out, tree, minutes)
        else:
            found = read_lines(clips_of(source, out))
        entries += _marked(found, source.core_minutes)
        hours = sum(entry["samples"] for entry in found) / SAMPLE_RATE_HZ / 3600
        speakers = len({entry["speaker"] for entry in found})
        said = f"{len(found)} clips, {hours:.2f} h, {speakers} speakers ({source.use})"
        print(f"{source.origin}: {said}", flush=True)
    entries.sort(key=lambda entry: (not entry["core"], _number(entry["origin"] + entry["name"])))
    partial = out / "manifest.partial"
    partial.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")
    partial.replace(out / "manifest.jsonl")
    (out / "sources.json").write_text(json.dumps([asdict(each) for each in sources], indent=1))
