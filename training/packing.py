"""``python -m training.packing``: pack speech into the arrays that training reads.

A shard is an ``.npz`` of some tens of clips. A clip has two or more *views* of the same content:
other speakers, degraded copies. All arrays are joined along time; ``clips`` says where each starts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from fast_vc_service.audio.high_pass import PASS_HZ, STOP_HZ, high_pass
from fast_vc_service.models.nano.envelope import HOP_SAMPLES as TARGET_HOP
from fast_vc_service.models.nano.envelope import SAMPLE_RATE_HZ as TARGET_HZ
from fast_vc_service.models.nano.envelope import envelope
from fast_vc_service.models.nano.pitch import VOICED, pitch
from fast_vc_service.models.nano.spectrum import (
    HOP_SAMPLES,
    SAMPLE_RATE_HZ,
    frame_energy,
    log_mel,
)
from training.augment import change_speed, degrade
from training.data.render import read_manifest
from training.paths import DEFAULT_ROOT

FloatArray = NDArray[np.float32]

SHARD_CLIPS = 50
FRONT_END = f"high-pass, {STOP_HZ:g} to {PASS_HZ:g} Hz"
"""What speech went through before it was packed; shards of another front end are packed anew."""

SPEED_SHARE = 0.4
SPEEDS = (0.83, 0.91, 1.1, 1.2)
FRAME_SAMPLES = 2 * HOP_SAMPLES
TARGET_FRAME_SAMPLES = 2 * TARGET_HOP


@dataclass(frozen=True)
class Clip:
    """Speech before packing.

    Attributes:
        split: ``train``, ``valid`` or ``eval``.
        speakers: [samples, views] at 24 kHz, sample-aligned.
        names: [views], who speaks; the same name is the same voice.
        language: what is spoken.
        wide: whether there is sound above 8 kHz.
        speaks: whether somebody is to sound like this; else only what listens learns from it.
    """

    split: str
    speakers: FloatArray
    names: tuple[str, ...]
    language: str
    wide: bool
    speaks: bool


def _mel(x: FloatArray) -> NDArray[np.float16]:
    frames, _ = log_mel(torch.from_numpy(x)[None])
    return frames[0].numpy().astype(np.float16)


def speech_level(mel: NDArray[np.float16], voicing: NDArray[np.int8]) -> float:
    """Mean log energy of the voiced frames; of all frames where none is voiced."""
    energy = frame_energy(torch.from_numpy(mel.astype(np.float32))).numpy()
    voiced = voicing == VOICED
    return float(energy[voiced if voiced.any() else slice(None)].mean())


def pack(
    clips: Sequence[Clip], rng: np.random.Generator, babble: Callable[[], FloatArray]
) -> dict[str, NDArray[Any]]:
    """Arrays of one shard.

    Returns:
        ``mel`` [N, 80] float16, ``f0`` [N] float32, ``voicing`` [N] int8 at 10 ms; ``views``
        [V, 5] int64 rows of (clip, first 20 ms frame, frames, degraded, first frame of the clean
        target); ``levels`` [V] (:func:`speech_level`) and ``names`` [V] of the speakers; of the
        targets ``envelope`` [M, 80] float16 at 10 ms and ``audio`` [240 M] int16 at 24 kHz;
        ``splits`` and ``languages`` [clips] strings, ``wide`` and ``speaks`` [clips], see
        :class:`Clip`; ``front_end``, the one of all.
        Views of a clip are aligned.
    """
    columns: dict[str, list[Any]] = {
        name: [] for name in ("mel", "f0", "voicing", "views", "levels", "names", "envelope")
    }
    columns["audio"] = []
    position = target = 0
    for number, clip in enumerate(clips):
        frames = len(clip.speakers) // TARGET_FRAME_SAMPLES
        for name, speaker in zip(clip.names, clip.speakers.T, strict=True):
            # As the service hears sources and references alike.
            wide = high_pass(speaker, TARGET_HZ)
            clean = _fit(soxr.resample(wide, TARGET_HZ, SAMPLE_RATE_HZ), frames * FRAME_SAMPLES)
            f0, voicing = pitch(clean, decimation=2)
            columns["envelope"].append(envelope(wide, f0).astype(np.float16))
            columns["audio"].append((np.clip(wide, -1, 1) * 32767).astype(np.int16))
            for degraded in (False, True):
                x = clean
                if degraded:
                    x = high_pass(degrade(x, SAMPLE_RATE_HZ, rng, babble()), SAMPLE_RATE_HZ)
                mel = _mel(x)
                columns["mel"].append(mel)
                columns["f0"].append(f0)
                columns["voicing"].append(voicing)
                columns["views"].append([(number, position, frames, int(degraded), target)])
                columns["levels"].append([speech_level(mel, voicing)])
                columns["names"].append([name])
                position += frames
            target += frames
    arrays: dict[str, NDArray[Any]] = {
        name: np.concatenate(column) for name, column in columns.items()
    }
    arrays["front_end"] = np.asarray(FRONT_END)
    arrays["splits"] = np.asarray([clip.split for clip in clips])
    arrays["languages"] = np.asarray([clip.language for clip in clips])
    arrays["wide"] = np.asarray([clip.wide for clip in clips])
    arrays["speaks"] = np.asarray([clip.speaks for clip in clips])
    return arrays


def _fit(x: NDArray[Any], samples: int) -> FloatArray:
    return np.pad(x, (0, max(0, samples - len(x))))[:samples].astype(np.float32)


def _whole_frames(x: FloatArray) -> FloatArray:
    return x[: len(x) // TARGET_FRAME_SAMPLES * TARGET_FRAME_SAMPLES]


def synthetic_clips(
    entry: dict[str, Any], folder: Path, rng: np.random.Generator
) -> Iterator[Clip]:
    """An utterance as it is and, for some, at another speed (new voices, free of charge)."""
    speech, _ = soundfile.read(folder / entry["file"], dtype="float32")
    who = [json.dumps(speaker, sort_keys=True) for speaker in entry["speakers"]]
    both = rng.random() < SPEED_SHARE
    for faster in (False, True) if both else (False,):
        # A few speeds, so that a faster voice too says several clips.
        speed = float(rng.choice(SPEEDS)) if faster else 1.0
        channels = [change_speed(channel, speed) for channel in speech.T]
        speakers = _whole_frames(np.stack(channels, axis=1))
        names = tuple(f"{name} {speed}" for name in who)
        language = entry["language"]
        yield Clip(entry["split"], speakers, names, language, wide=True, speaks=True)


def real_clips(entry: dict[str, Any], folder: Path) -> Iterator[Clip]:
    """A recording."""
    speech, rate = soundfile.read(folder / entry["file"], dtype="float32")
    mono = _whole_frames(np.asarray(soxr.resample(speech, rate, TARGET_HZ), np.float32))
    yield Clip(
        entry["split"],
        mono[:, None],
        (entry["speaker"],),
        entry["language"],
        entry["wide"],
        entry["use"] == "train",
    )


def front_end_of(path: Path) -> str:
    """What a shard went through; empty where there is none or it does not say."""
    if not path.is_file():
        return ""
    with np.load(path) as stored:
        return str(stored["front_end"]) if "front_end" in stored.files else ""


def packable(kind: str, manifest: Path) -> list[dict[str, Any]]:
    """Entries of a manifest that training may hear."""
    entries = read_manifest(manifest)
    return [each for each in entries if kind == "synthetic" or each["split"] != "eval"]


def _groups(folder: Path, out: Path, kind: str) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Files to write and the manifest entries of each; only whole groups, as manifests grow."""
    for manifest in sorted(folder.glob("manifest*.jsonl")):
        entries = packable(kind, manifest)
        for first in range(0, len(entries) - SHARD_CLIPS + 1, SHARD_CLIPS):
            name = f"shard{manifest.stem.removeprefix('manifest')}-{first // SHARD_CLIPS:04d}.npz"
            yield out / name, entries[first : first + SHARD_CLIPS]


def run(root: Path, kind: str, seed: int, worker: int = 0, workers: int = 1) -> None:
    """Pack every complete group of SHARD_CLIPS manifest entries that has no shard as of now.

    Of several workers each packs every ``workers``-th group.
    """
    folder, out = root / kind, root / "features" / kind
    out.mkdir(parents=True, exist_ok=True)
    for path, members in itertools.islice(_groups(folder, out, kind), worker, None, workers):
        if front_end_of(path) == FRONT_END:
            continue
        started = time.monotonic()
        rng = np.random.default_rng([seed, *path.name.encode()])
        clips: list[Clip] = []
        for entry in members:
            if kind == "synthetic":
                clips += synthetic_clips(entry, folder, rng)
            else:
                clips += real_clips(entry, folder)

        def babble(clips: list[Clip] = clips, rng: np.random.Generator = rng) -> FloatArray:
            other = clips[int(rng.integers(len(clips)))].speakers[:, 0]
            return np.asarray(soxr.resample(other, TARGET_HZ, SAMPLE_RATE_HZ), np.float32)

        arrays = pack(clips, rng, babble)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **arrays)  # type: ignore[arg-type]
        partial.replace(path)
        seconds = len(arrays["mel"]) * 0.01
        print(
            f"{path.name}: {seconds:.0f} s of views, {time.monotonic() - started:.1f} s", flush=True
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.packing", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--kind", choices=["synthetic", "real"], default="synthetic")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker", default="0/1", help="K/N: the K-th of N processes, from 0")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    worker, workers = (int(number) for number in args.worker.split("/"))
    run(args.root, args.kind, args.seed, worker, workers)


if __name__ == "__main__":
    main()
