"""Shards of packed speech in memory, and segments of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_vc_service.models.nano.envelope import HOP_SAMPLES as TARGET_HOP
from fast_vc_service.models.nano.spectrum import MELS, SILENCE

_ALWAYS = ("views", "splits", "languages", "wide", "speaks", "levels", "names")


@dataclass(frozen=True)
class View:
    """One speaker's (perhaps degraded) rendering of a clip; rows of a shard's arrays.

    Attributes:
        shard: number of the shard.
        first: its first 20 ms frame there.
        frames: how many.
        degraded: whether something was done to it.
        target: first 20 ms frame of the clean original among the targets.
        level: mean log energy of its voiced frames.
        name: who speaks.
    """

    shard: int
    first: int
    frames: int
    degraded: bool
    target: int
    level: float
    name: str


@dataclass(frozen=True)
class Clip:
    """Aligned views of the same content; see :class:`training.packing.Clip`."""

    language: str
    wide: bool
    speaks: bool
    views: tuple[View, ...]


@dataclass(frozen=True)
class Speech:
    """Clean segments with what the vocoder speaks from.

    Attributes:
        envelope: [B, T, 80] log amplitudes every 10 ms.
        f0: [B, T] Hz, 0 where there is none.
        voicing: [B, T] 1, 0, or -1 where unsure.
        audio: [B, 240 T] at 24 kHz.
    """

    envelope: Tensor
    f0: Tensor
    voicing: Tensor
    audio: Tensor

    def to(self, device: torch.device) -> Speech:
        """The same on another device."""
        return Speech(
            self.envelope.to(device),
            self.f0.to(device),
            self.voicing.to(device),
            self.audio.to(device),
        )

    def louder(self, gain: Tensor) -> Speech:
        """Scaled by exp(gain), [B]."""
        scale = torch.exp(gain)[:, None]
        return replace(self, envelope=self.envelope + gain[:, None, None], audio=self.audio * scale)


def up_to_date(derived: Path, shard: Path) -> bool:
    """Whether what was derived from a shard is there and not older than the shard."""
    return derived.is_file() and derived.stat().st_mtime_ns >= shard.stat().st_mtime_ns


class Library:
    """All shards of one kind, in memory; :meth:`refresh` takes in new ones."""

    def __init__(
        self,
        folder: Path,
        arrays: Sequence[str],
        derived: Mapping[Path, Sequence[str]] | None = None,
    ) -> None:
        """Open ``folder``.

        Args:
            folder: of the shards.
            arrays: what is read of each.
            derived: folders of files of the same names that later stages made, and what is read
                of them; a shard that lacks one is left for later.
        """
        self._folder = folder
        self._derived = dict(derived or {})
        self._arrays = {*arrays, *_ALWAYS}
        self._paths: list[Path] = []
        self._shards: list[dict[str, NDArray[np.generic]]] = []
        self.clips: dict[str, list[Clip]] = {"train": [], "valid": [], "eval": []}
        self._originals: dict[tuple[int, int], View] = {}
        self.hours = 0.0

    @property
    def paths(self) -> list[Path]:
        """Files of the shards, by their numbers."""
        return self._paths

    def arrays(self, shard: int) -> dict[str, NDArray[np.generic]]:
        """What was read of a shard."""
        return self._shards[shard]

    def clean(self, view: View) -> View:
        """The clean original of a degraded view."""
        return self._originals[view.shard, view.target]

    def refresh(self) -> int:
        """Load shards that are new on disk, and what was derived; returns how many."""
        new = [
            path
            for path in sorted(self._folder.glob("shard-*.npz"))
            if path not in self._paths
            and ".partial" not in path.name
            and all(up_to_date(folder / path.name, path) for folder in self._derived)
        ]
        for path in new:
            with np.load(path) as stored:
                shard = {name: stored[name] for name in self._arrays}
            for folder, names in self._derived.items():
                with np.load(folder / path.name) as stored:
                    shard |= {name: stored[name] for name in names}
            number = len(self._shards)
            self._paths.append(path)
            self._shards.append(shard)
            rows: dict[int, list[View]] = {}
            for row, level, name in zip(
                shard["views"].tolist(), shard["levels"].tolist(), shard["names"], strict=True
            ):
                clip, first, frames, degraded, target = row
                view = View(number, first, frames, bool(degraded), target, level, str(name))
                rows.setdefault(clip, []).append(view)
                if not degraded:
                    self._originals[number, target] = view
            for clip, views in rows.items():
                self.clips[str(shard["splits"][clip])].append(
                    Clip(
                        str(shard["languages"][clip]),
                        bool(shard["wide"][clip]),
                        bool(shard["speaks"][clip]),
                        tuple(views),
                    )
                )
            self.hours += sum(row[2] for row in shard["views"].tolist()) * 0.02 / 3600
        return len(new)

    def segment(
        self, view: View, start: int, frames: int
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Log-mel [2 frames, MELS] and validity [frames] of a view from frame ``start`` on."""
        shard = self._shards[view.shard]
        have = max(0, min(frames, view.frames - start))
        low, missing = view.first + start, frames - have
        mel = shard["mel"][2 * low : 2 * (low + have)]
        return (
            np.pad(mel, ((0, 2 * missing), (0, 0)), constant_values=SILENCE),
            np.arange(frames) < have,
        )

    def speech(self, split: str, count: int, frames: int, rng: np.random.Generator) -> Speech:
        """Random clean segments of ``frames`` hops of 10 ms."""
        rows = []
        clips = [clip for clip in self.clips[split] if 2 * clip.views[0].frames >= frames]
        for index in rng.integers(len(clips), size=count):
            views = [view for view in clips[int(index)].views if not view.degraded]
            view = views[int(rng.integers(len(views)))]
            shard = self._shards[view.shard]
            start = int(rng.integers(2 * view.frames - frames + 1))
            source, target = 2 * view.first + start, 2 * view.target + start
            rows.append(
                (
                    shard["envelope"][target : target + frames].astype(np.float32),
                    shard["f0"][source : source + frames].astype(np.float32),
                    shard["voicing"][source : source + frames].astype(np.int64),
                    shard["audio"][TARGET_HOP * target : TARGET_HOP * (target + frames)].astype(
                        np.float32
                    )
                    / 32767,
                )
            )
        return Speech(*(torch.from_numpy(np.stack(c)) for c in zip(*rows, strict=True)))


def roughen(mel: Tensor, rng: torch.Generator) -> Tensor:
    """Cheap degradations in the mel domain, on the device of ``mel``: [B, T, MELS] to the same.

    Level (-20 to +6 dB), a smooth spectral tilt, a coloured noise floor, short bands of time and
    frequency taken out.
    """
    batch, frames, _ = mel.shape
    device = mel.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=rng).to(device)

    level = uniform(-2.3, 0.7, batch, 1, 1)
    points = uniform(-0.5, 0.5, batch, 1, 5)
    tilt = torch.nn.functional.interpolate(points, MELS, mode="linear", align_corners=True)
    floor = uniform(-11.5, -5.5, batch, 1, 1) + torch.nn.functional.interpolate(
        uniform(-1.5, 1.5, batch, 1, 4), MELS, mode="linear", align_corners=True
    )
    noise = floor + 0.4 * torch.randn(batch, frames, MELS, generator=rng).to(device)
    mel = 0.5 * torch.logaddexp(2 * (mel + level + tilt), 2 * noise)

    time, band = torch.arange(frames, device=device), torch.arange(MELS, device=device)
    start = uniform(0, frames, batch, 1)
    hole = (time >= start) & (time < start + uniform(0, 12, batch, 1))
    low = uniform(0, MELS, batch, 1)
    gap = (band >= low) & (band < low + uniform(0, 12, batch, 1))
    return mel.masked_fill(hole[:, :, None] | gap[:, None, :], SILENCE)
