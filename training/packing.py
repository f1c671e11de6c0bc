"""``python -m training.features``: pack speech into the arrays that training reads.

A shard is an ``.npz`` of some tens of clips. A clip has two or more *views* of the same content:
other speakers, degraded copies. All arrays are joined along time; ``clips`` says where each starts.
"""

from __future__ import annotations

import argparse
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
from training.phones import IGNORED, Labeller

FloatArray = NDArray[np.float32]

SHARD_CLIPS = 50
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
        phones: [frames] at 50 Hz; all IGNORED where unknown.
        source: a word for statistics: the language, or ``real``.
    """

    split: str
    speakers: FloatArray
    names: tuple[str, ...]
    phones: NDArray[np.int16]
    source: str


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
        ``mel`` [N, 80] float16, ``f0`` [N] float32, ``voicing`` [N] int8 at 10 ms; ``phones``
        [N / 2] int16 at 20 ms; ``views`` [V, 5] int64 rows of (clip, first 20 ms frame, frames,
        degraded, first frame of the clean target); ``levels`` [V] (:func:`speech_level`) and
        ``names`` [V] of the speakers; of the targets ``envelope`` [M, 80] float16 at 10 ms and
        ``audio`` [240 M] int16 at 24 kHz; ``splits`` [clips] and ``sources`` [clips] strings.
        Views of a clip are aligned.
    """
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("mel", "f0", "voicing", "phones", "views", "levels", "names", "envelope")
    }
    columns["audio"] = []
    position = target = 0
    for number, clip in enumerate(clips):
        frames = len(clip.phones)
        for name, wide in zip(clip.names, clip.speakers.T, strict=True):
            clean = _fit(soxr.resample(wide, TARGET_HZ, SAMPLE_RATE_HZ), frames * FRAME_SAMPLES)
            f0, voicing = pitch(clean)
            columns["envelope"].append(envelope(wide, f0).astype(np.float16))
            columns["audio"].append((np.clip(wide, -1, 1) * 32767).astype(np.int16))
            for degraded in (False, True):
                x = degrade(clean, SAMPLE_RATE_HZ, rng, babble()) if degraded else clean
                mel = _mel(x)
                columns["mel"].append(mel)
                columns["f0"].append(f0)
                columns["voicing"].append(voicing)
                columns["phones"].append(clip.phones)
                columns["views"].append([(number, position, frames, int(degraded), target)])
                columns["levels"].append([speech_level(mel, voicing)])
                columns["names"].append([name])
                position += frames
            target += frames
    arrays: dict[str, NDArray[Any]] = {
        name: np.concatenate(column) for name, column in columns.items()
    }
    arrays["splits"] = np.asarray([clip.split for clip in clips])
    arrays["sources"] = np.asarray([clip.source for clip in clips])
    return arrays


def _fit(x: NDArray[Any], samples: int) -> FloatArray:
    return np.pad(x, (0, max(0, samples - len(x))))[:samples].astype(np.float32)


def _whole_frames(x: FloatArray) -> FloatArray:
    return x[: len(x) // TARGET_FRAME_SAMPLES * TARGET_FRAME_SAMPLES]


def synthetic_clips(
    entry: dict[str, Any], folder: Path, labeller: Labeller, rng: np.random.Generator
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
        centres = np.arange(len(speakers) // TARGET_FRAME_SAMPLES, dtype=np.float64) + 0.5
        phones = labeller.frames(entry["tokens"], entry["durations"], centres * 0.02 * speed)
        names = tuple(f"{name} {speed}" for name in who)
        yield Clip(entry["split"], speakers, names, phones, entry["language"])


def real_clips(entry: dict[str, Any], folder: Path) -> Iterator[Clip]:
    """A recording; its phones are unknown."""
    speech, rate = soundfile.read(folder / entry["file"], dtype="float32")
    mono = _whole_frames(np.asarray(soxr.resample(speech, rate, TARGET_HZ), np.float32))
    phones = np.full(len(mono) // TARGET_FRAME_SAMPLES, IGNORED, np.int16)
    yield Clip(entry["split"], mono[:, None], (entry["speaker"],), phones, "real")


def _groups(folder: Path, out: Path, kind: str) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Files to write and the manifest entries of each; only whole groups of growing manifests."""
    for manifest in sorted(folder.glob("manifest*.jsonl")):
        entries = read_manifest(manifest)
        growing = kind == "synthetic"
        if not growing:
            entries = [entry for entry in entries if entry["split"] != "eval"]
        last = len(entries) - SHARD_CLIPS + 1 if growing else len(entries)
        for first in range(0, last, SHARD_CLIPS):
            name = f"shard{manifest.stem.removeprefix('manifest')}-{first // SHARD_CLIPS:04d}.npz"
            yield out / name, entries[first : first + SHARD_CLIPS]


def run(root: Path, kind: str, seed: int) -> None:
    """Pack every complete group of SHARD_CLIPS manifest entries that has no shard yet."""
    folder, out = root / kind, root / "features" / kind
    out.mkdir(parents=True, exist_ok=True)
    vocabulary = json.loads((root / "kokoro/config.json").read_text("utf-8"))["vocab"]
    labeller = Labeller(vocabulary)
    (root / "features/phones.json").write_text(json.dumps(labeller.names, ensure_ascii=False))
    for path, members in _groups(folder, out, kind):
        if path.is_file():
            continue
        started = time.monotonic()
        rng = np.random.default_rng([seed, *path.name.encode()])
        clips: list[Clip] = []
        for entry in members:
            if kind == "synthetic":
                clips += synthetic_clips(entry, folder, labeller, rng)
            else:
                clips += real_clips(entry, folder)

        def babble(clips: list[Clip] = clips, rng: np.random.Generator = rng) -> FloatArray:
            other = clips[int(rng.integers(len(clips)))].speakers[:, 0]
            return np.asarray(soxr.resample(other, TARGET_HZ, SAMPLE_RATE_HZ), np.float32)

        arrays = pack(clips, rng, babble)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **arrays)  # type: ignore[arg-type]
        partial.replace(path)
        seconds = len(arrays["phones"]) * 0.02
        print(
            f"{path.name}: {seconds:.0f} s of views, {time.monotonic() - started:.1f} s", flush=True
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.features", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--kind", choices=["synthetic", "real"], default="synthetic")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    run(args.root, args.kind, args.seed)


if __name__ == "__main__":
    main()
