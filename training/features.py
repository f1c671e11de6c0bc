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
import pyworld
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from fast_vc_service.models.nano.content import F0_MAX_HZ, F0_MIN_HZ
from fast_vc_service.models.nano.spectrum import HOP_SAMPLES, SAMPLE_RATE_HZ, log_mel
from training.augment import change_speed, degrade
from training.data.render import load_manifest
from training.paths import DEFAULT_ROOT
from training.phones import IGNORED, Labeller

FloatArray = NDArray[np.float32]

SHARD_CLIPS = 50
SPEED_SHARE = 0.5
FRAME_SAMPLES = 2 * HOP_SAMPLES
VOICED, UNVOICED, UNSURE = 1, 0, -1


@dataclass(frozen=True)
class Clip:
    """Speech before packing.

    Attributes:
        split: ``train``, ``valid`` or ``eval``.
        speakers: [samples, views] at 16 kHz, sample-aligned.
        phones: [frames] at 50 Hz; all IGNORED where unknown.
        source: a word for statistics: the language, or ``real``.
    """

    split: str
    speakers: FloatArray
    phones: NDArray[np.int16]
    source: str


def pitch(x: FloatArray) -> tuple[FloatArray, NDArray[np.int8]]:
    """F0 in Hz (0: none) and voicing, both every 10 ms at the middle of the hop.

    A strict and a lax run of DIO agree nearly everywhere; where they do not, voicing is UNSURE and
    no loss is taken.
    """
    hops = len(x) // HOP_SAMPLES
    rng = np.random.default_rng(len(x))  # digital silence would be called voiced
    wide = x.astype(np.float64) + 1e-5 * rng.standard_normal(len(x))
    voices = []
    for allowed_range in (0.1, 0.25):
        f0, times = pyworld.dio(
            wide,
            SAMPLE_RATE_HZ,
            f0_floor=F0_MIN_HZ,
            f0_ceil=F0_MAX_HZ,
            frame_period=5.0,
            allowed_range=allowed_range,
        )
        voices.append(f0)
    strict, lax = voices
    refined = pyworld.stonemask(wide, strict, times, SAMPLE_RATE_HZ)[1::2][:hops]
    sure, maybe = strict[1::2][:hops] > 0, lax[1::2][:hops] > 0
    voicing = np.where(sure, VOICED, np.where(maybe, UNSURE, UNVOICED)).astype(np.int8)
    f0 = np.where(sure, refined, 0.0).astype(np.float32)
    short = hops - len(f0)
    return np.pad(f0, (0, short)), np.pad(voicing, (0, short), constant_values=UNSURE)


def _mel(x: FloatArray) -> NDArray[np.float16]:
    frames, _ = log_mel(torch.from_numpy(x)[None])
    return frames[0].numpy().astype(np.float16)


def pack(
    clips: Sequence[Clip], rng: np.random.Generator, babble: Callable[[], FloatArray]
) -> dict[str, NDArray[Any]]:
    """Arrays of one shard.

    Returns:
        ``mel`` [N, 80] float16, ``f0`` [N] float32, ``voicing`` [N] int8 at 10 ms; ``phones``
        [N / 2] int16 at 20 ms; ``views`` [V, 4] int64 rows of (clip, first 20 ms frame, frames,
        degraded); ``splits`` [clips] and ``sources`` [clips] strings. Views of a clip are aligned.
    """
    mels, pitches, voicings, phones, views = [], [], [], [], []
    position = 0
    for number, clip in enumerate(clips):
        for speaker in clip.speakers.T:
            clean = np.ascontiguousarray(speaker)
            f0, voicing = pitch(clean)
            for degraded in (False, True):
                x = degrade(clean, SAMPLE_RATE_HZ, rng, babble()) if degraded else clean
                mels.append(_mel(x))
                pitches.append(f0)
                voicings.append(voicing)
                phones.append(clip.phones)
                views.append((number, position, len(clip.phones), int(degraded)))
                position += len(clip.phones)
    return {
        "mel": np.concatenate(mels),
        "f0": np.concatenate(pitches),
        "voicing": np.concatenate(voicings),
        "phones": np.concatenate(phones),
        "views": np.asarray(views, np.int64),
        "splits": np.asarray([clip.split for clip in clips]),
        "sources": np.asarray([clip.source for clip in clips]),
    }


def _whole_frames(x: FloatArray) -> FloatArray:
    return x[: len(x) // FRAME_SAMPLES * FRAME_SAMPLES]


def synthetic_clips(
    entry: dict[str, Any], folder: Path, labeller: Labeller, rng: np.random.Generator
) -> Iterator[Clip]:
    """An utterance as it is and, for some, at another speed (new voices, free of charge)."""
    speech, rate = soundfile.read(folder / entry["file"], dtype="float32")
    speeds = [1.0]
    if rng.random() < SPEED_SHARE:
        speeds.append(float(np.exp(rng.uniform(np.log(0.82), np.log(1.22)))))
    for speed in speeds:
        channels = [change_speed(channel, speed * rate / SAMPLE_RATE_HZ) for channel in speech.T]
        speakers = _whole_frames(np.stack(channels, axis=1))
        centres = np.arange(len(speakers) // FRAME_SAMPLES, dtype=np.float64) + 0.5
        phones = labeller.frames(entry["tokens"], entry["durations"], centres * 0.02 * speed)
        yield Clip(entry["split"], speakers, phones, entry["language"])


def real_clips(entry: dict[str, Any], folder: Path) -> Iterator[Clip]:
    """A recording; its phones are unknown."""
    speech, rate = soundfile.read(folder / entry["file"], dtype="float32")
    mono = _whole_frames(np.asarray(soxr.resample(speech, rate, SAMPLE_RATE_HZ), np.float32))
    phones = np.full(len(mono) // FRAME_SAMPLES, IGNORED, np.int16)
    yield Clip(entry["split"], mono[:, None], phones, "real")


def run(root: Path, kind: str, seed: int) -> None:
    """Pack every complete group of SHARD_CLIPS manifest entries that has no shard yet."""
    folder, out = root / kind, root / "features" / kind
    out.mkdir(parents=True, exist_ok=True)
    vocabulary = json.loads((root / "kokoro/config.json").read_text("utf-8"))["vocab"]
    labeller = Labeller(vocabulary)
    (root / "features/phones.json").write_text(json.dumps(labeller.names, ensure_ascii=False))
    entries = load_manifest(folder / "manifest.jsonl")
    if kind == "real":
        entries = [entry for entry in entries if entry["split"] != "eval"]
    groups = len(entries) // SHARD_CLIPS if kind == "synthetic" else -(-len(entries) // SHARD_CLIPS)
    for group in range(groups):
        path = out / f"shard-{group:05d}.npz"
        if path.is_file():
            continue
        started = time.monotonic()
        rng = np.random.default_rng([seed, group])
        members = entries[group * SHARD_CLIPS : (group + 1) * SHARD_CLIPS]
        clips: list[Clip] = []
        for entry in members:
            if kind == "synthetic":
                clips += synthetic_clips(entry, folder, labeller, rng)
            else:
                clips += real_clips(entry, folder)

        def babble(clips: list[Clip] = clips, rng: np.random.Generator = rng) -> FloatArray:
            return clips[int(rng.integers(len(clips)))].speakers[:, 0]

        arrays = pack(clips, rng, babble)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **arrays)  # type: ignore[arg-type]
        partial.replace(path)
        seconds = len(arrays["phones"]) * 0.02
        print(
            f"{path.name}: {seconds:.0f} s of views, {time.monotonic() - started:.1f} s", flush=True
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.features", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--kind", choices=["synthetic", "real"], default="synthetic")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    run(args.root, args.kind, args.seed)


if __name__ == "__main__":
    main()
