"""Recorded speech: unpack, decode, trim, and list with licence and use in a manifest."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from training.data.fetch import debian_packages
from training.data.sources import SOURCES, Source

FloatArray = NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
"""The rate of nearly all of these recordings; nothing above 8 kHz is made up."""

MIN_S, MAX_S = 0.6, 20.0
VALIDATION_PERCENT = 5
SILENCE_DB = -45.0
"""Frames this far below the loudest one are trimmed from both ends."""


class DecodeError(RuntimeError):
    """A recording could not be decoded."""


def decode(path: Path) -> FloatArray:
    """Any recording as mono float32 [samples] at 16 kHz, by ffmpeg.

    Raises:
        DecodeError: with ffmpeg's own words.
    """
    form = ["-f", "g722"] if path.suffix == ".g722" else []
    command = ["ffmpeg", "-v", "error", *form, "-i", str(path), "-ac", "1"]
    command += ["-ar", str(SAMPLE_RATE_HZ), "-f", "f32le", "-"]
    result = subprocess.run(command, capture_output=True, check=False)
    if result.returncode != 0:
        raise DecodeError(f"{path}: {result.stderr.decode(errors='replace').strip()}")
    return np.frombuffer(result.stdout, np.float32)


def trim(speech: FloatArray, margin_s: float = 0.1) -> FloatArray:
    """Cut silence from both ends, keeping a margin."""
    frame = SAMPLE_RATE_HZ // 100
    frames = len(speech) // frame
    if frames == 0:
        return speech[:0]
    power = np.square(speech[: frames * frame].reshape(frames, frame)).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (SILENCE_DB / 10))
    if loud.size == 0 or power.max() < 1e-7:
        return speech[:0]
    margin = int(margin_s * SAMPLE_RATE_HZ)
    return speech[max(0, loud[0] * frame - margin) : (loud[-1] + 1) * frame + margin]


def split_of(source: Source, name: str) -> str:
    """``train`` or ``valid`` for training sources, by the file's name; ``eval`` for the others."""
    if source.use == "eval":
        return "eval"
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return "valid" if number % 100 < VALIDATION_PERCENT else "train"


def _clips(source: Source, share: Path, out: Path) -> Iterator[dict[str, Any]]:
    pattern = re.compile(source.pattern)
    for path in sorted(share.rglob("*.*")):
        match = pattern.search(str(path.relative_to(share)))
        if match is None or "/silence/" in str(path):
            continue
        speech = trim(decode(path))
        if not MIN_S <= len(speech) / SAMPLE_RATE_HZ <= MAX_S:
            continue
        speaker = source.speaker.format(**match.groupdict())
        name = hashlib.sha256(str(path.relative_to(share)).encode()).hexdigest()[:12]
        file = out / "audio" / speaker / f"{name}.flac"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, np.clip(speech, -1, 1), SAMPLE_RATE_HZ, "PCM_16", format="FLAC")
        yield {
            "file": str(file.relative_to(out)),
            "name": str(path.relative_to(share)),
            "package": source.package,
            "speaker": speaker,
            "sex": source.sex,
            "language": source.language,
            "licence": source.licence,
            "split": split_of(source, str(path.relative_to(share))),
            "samples": len(speech),
        }


def _unchanged(source: Source, out: Path) -> list[dict[str, Any]]:
    """Manifest entries of a source that an earlier run has decoded as it is described now."""
    manifest, sources = out / "manifest.jsonl", out / "sources.json"
    if not manifest.is_file() or asdict(source) not in json.loads(sources.read_text()):
        return []
    pattern = re.compile(source.pattern)
    entries = (json.loads(line) for line in manifest.read_text("utf-8").splitlines())
    return [
        entry
        for entry in entries
        if entry["package"] == source.package and pattern.search(entry["name"])
    ]


def run(root: Path) -> None:
    """Fetch and decode what is new; writes ``root/real/{manifest.jsonl,sources.json}``."""
    out = root / "real"
    out.mkdir(parents=True, exist_ok=True)
    partial = out / "manifest.partial"
    with partial.open("w", encoding="utf-8") as lines:
        for source in SOURCES:
            entries = _unchanged(source, out)
            if not entries:
                share = out / "packages" / source.package
                if not share.is_dir():
                    debian_packages([source.package], root / "downloads" / "deb", share)
                entries = list(_clips(source, share, out))
            lines.writelines(json.dumps(entry) + "\n" for entry in entries)
            minutes = sum(entry["samples"] for entry in entries) / SAMPLE_RATE_HZ / 60
            print(f"{source.package}: {len(entries)} clips, {minutes:.1f} min ({source.use})")
    partial.replace(out / "manifest.jsonl")
    (out / "sources.json").write_text(json.dumps([asdict(s) for s in SOURCES], indent=1))
