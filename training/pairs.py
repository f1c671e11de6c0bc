"""Batches for the acoustic model: a source view, an aligned target, a reference of its speaker."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_vc_service.models.nano.acoustic import MEMORY, normalise
from fast_vc_service.models.nano.content import ContentConfig
from fast_vc_service.models.nano.envelope import BANDS, BANDS_BELOW_7K6
from fast_vc_service.models.nano.pitch import VOICED
from fast_vc_service.models.nano.spectrum import SILENCE
from training.batches import Clip, Library, View

ARRAYS = ("mel", "f0", "voicing", "envelope")
CLEAN_REFERENCE_SHARE = 0.7
EDGE = 5
AHEAD = ContentConfig.right_frames
FEWEST_FRAMES = 15
REFERENCE_FRAMES = (100, 400)
"""20 ms frames of a reference: 2 to 8 s."""


@dataclass(frozen=True)
class Pairs:
    """One batch of B segments of T frames of 20 ms.

    Attributes:
        content: [B, T, 96] of the source; energy: [B, 2 T] relative to its level.
        mel: [B, 2 T, MELS] of the source relative to its level, AHEAD frames of 20 ms later.
        f0, voicing: [B, 2 T] of the target.
        envelope: [B, 2 T, 80] of the target relative to its level, normalised.
        bands: [B, 80], 1 where the target has sound to compare with.
        valid: [B, T], False past the end of the clip.
        embedding: [B, 192]; memory_content: [B, N, 96]; memory_envelope: [B, N, MEMORY];
            memory_mask: [B, N] of the reference.
    """

    content: Tensor
    energy: Tensor
    mel: Tensor
    f0: Tensor
    voicing: Tensor
    envelope: Tensor
    bands: Tensor
    valid: Tensor
    embedding: Tensor
    memory_content: Tensor
    memory_envelope: Tensor
    memory_mask: Tensor

    def to(self, device: torch.device) -> Pairs:
        """The same on another device."""
        return Pairs(*(getattr(self, field.name).to(device) for field in fields(self)))


class PairLibrary:
    """Shards with their inputs; all of one kind."""

    def __init__(self, root: Path, kind: str, version: str) -> None:
        self._library = Library(root / "features" / kind, ARRAYS)
        self._inputs: list[dict[str, NDArray[Any]]] = []
        self._folder = root / "inputs" / kind / version
        self._real = kind == "real"
        self._by_name: dict[str, list[View]] = {}
        self._rows: dict[tuple[int, int], int] = {}

    @property
    def hours(self) -> float:
        """All views together."""
        return self._library.hours

    def clips(self, split: str) -> list[Clip]:
        """Clips of a split."""
        return self._library.clips[split]

    def refresh(self) -> None:
        """Take in new shards whose inputs are there."""
        known = len(self._library.paths)
        self._library.refresh(only={path.name for path in self._folder.glob("shard-*.npz")})
        for path in self._library.paths[known:]:
            with np.load(self._folder / path.name) as stored:
                self._inputs.append({name: stored[name] for name in stored.files})
        self._by_name = {}
        for clips in self._library.clips.values():
            for clip in clips:
                for view in clip.views:
                    self._by_name.setdefault(view.name, []).append(view)

    def draw(self, split: str, count: int, frames: int, rng: np.random.Generator) -> Pairs:
        """``count`` random pairs with their references."""
        clips = self._library.clips[split]
        rows = []
        for index in rng.integers(len(clips), size=count):
            views = clips[int(index)].views
            clean = [view for view in views if not view.degraded]
            target = clean[int(rng.integers(len(clean)))]
            # Somebody else where there is: else the target's own voice could be heard through.
            said = [view for view in views if view.name != target.name] or list(views)
            source = said[int(rng.integers(len(said)))]
            start = int(rng.integers(max(1, source.frames - frames + 1)))
            reference = self._reference(target, rng)
            # What is to be said must not be there to be copied.
            same = (reference.shard, reference.target) == (target.shard, target.target)
            hidden = (start - EDGE, start + frames + EDGE) if same else (0, 0)
            rows.append(
                self._segment(source, target, start, frames)
                + self._memory(reference, hidden, max(REFERENCE_FRAMES), rng)
            )
        return Pairs(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))

    def _reference(self, target: View, rng: np.random.Generator) -> View:
        degraded = rng.random() >= CLEAN_REFERENCE_SHARE
        said = [view for view in self._by_name[target.name] if view.degraded == degraded]
        others = [
            view for view in said if (view.shard, view.target) != (target.shard, target.target)
        ]
        chosen = others or said
        return chosen[int(rng.integers(len(chosen)))]

    def _segment(
        self, source: View, target: View, start: int, frames: int
    ) -> tuple[NDArray[Any], ...]:
        shard, inputs = self._library.arrays(source.shard), self._inputs[source.shard]
        have = min(frames, source.frames - start)
        missing = frames - have
        heard = slice(source.first + start, source.first + start + have)
        fine = slice(2 * heard.start, 2 * heard.stop)
        said = slice(2 * (target.first + start), 2 * (target.first + start + have))
        shown = slice(2 * (target.target + start), 2 * (target.target + start + have))
        envelope = shard["envelope"][shown].astype(np.float32) - target.level
        first = heard.start + AHEAD
        have_mel = max(0, min(frames, source.first + source.frames - first))
        mel = shard["mel"][2 * first : 2 * (first + have_mel)].astype(np.float32)
        mel = np.pad(mel, ((0, 2 * (frames - have_mel)), (0, 0)), constant_values=SILENCE)
        return (
            np.pad(inputs["content"][heard].astype(np.float32), ((0, missing), (0, 0))),
            np.pad(
                inputs["energy"][fine].astype(np.float32) - source.level,
                (0, 2 * missing),
                constant_values=-8.0,
            ),
            mel - np.float32(source.level),
            np.pad(shard["f0"][said].astype(np.float32), (0, 2 * missing)),
            np.pad((shard["voicing"][said] == VOICED).astype(np.float32), (0, 2 * missing)),
            np.pad(
                normalise(torch.from_numpy(envelope)).numpy(),
                ((0, 2 * missing), (0, 0)),
                mode="edge",
            ),
            (np.arange(BANDS) < (BANDS_BELOW_7K6 if self._real else BANDS)).astype(np.float32),
            np.arange(frames) < have,
        )

    def _memory(
        self,
        reference: View,
        hidden: tuple[int, int],
        size: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[Any], ...]:
        shard, inputs = self._library.arrays(reference.shard), self._inputs[reference.shard]
        wanted = int(rng.integers(REFERENCE_FRAMES[0], size + 1))
        have = min(size if hidden[1] else wanted, reference.frames)
        start = int(rng.integers(reference.frames - have + 1))
        heard = slice(reference.first + start, reference.first + start + have)
        shown = slice(2 * (reference.target + start), 2 * (reference.target + start + have))
        level = self._level(reference)
        low = shard["envelope"][shown, :BANDS_BELOW_7K6].astype(np.float32) - level
        envelope = normalise(torch.from_numpy(low)).numpy().reshape(have, MEMORY)
        missing = size - have
        return (
            inputs["embeddings"][self._row(reference)],
            np.pad(inputs["content"][heard].astype(np.float32), ((0, missing), (0, 0))),
            np.pad(envelope, ((0, missing), (0, 0))),
            self._shown(start, have, hidden, size),
        )

    @staticmethod
    def _shown(start: int, have: int, hidden: tuple[int, int], size: int) -> NDArray[np.bool_]:
        """Which frames of a memory may be used; at least some, also where all are hidden."""
        place = np.arange(size) + start
        inside = np.arange(size) < have
        shown = inside & ((place < hidden[0]) | (place >= hidden[1]))
        if shown.sum() >= FEWEST_FRAMES:
            return shown
        return inside & (np.arange(size) < FEWEST_FRAMES)

    def _level(self, view: View) -> float:
        """Speech level of the clean original of a view."""
        if not view.degraded:
            return view.level
        return self._library.clean(view).level

    def _row(self, view: View) -> int:
        key = (view.shard, view.first)
        if key not in self._rows:
            firsts = self._library.arrays(view.shard)["views"][:, 1].tolist()
            self._rows |= {(view.shard, first): row for row, first in enumerate(firsts)}
        return self._rows[key]
