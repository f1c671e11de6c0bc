"""Batches for the acoustic model: a source, an aligned target, a reference of its speaker."""

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
from training.packed_speech import Clip, Library, View
from training.units import Units

ARRAYS = ("mel", "f0", "voicing", "envelope")
CLEAN_REFERENCE_SHARE = 0.7
EDGE = 5
AHEAD = ContentConfig.right_frames
BEFORE = 20
"""Frames of the source that the content encoder hears before those that are said."""

FEWEST_FRAMES = 15
REFERENCE_FRAMES = (100, 400)
"""20 ms frames of a reference: 2 to 8 s."""


@dataclass(frozen=True)
class Conversions:
    """One batch of B segments of T frames of 20 ms.

    Attributes:
        mel: [B, 2 (BEFORE + T + AHEAD), MELS] of the source.
        level: [B], its speech level.
        lone: [B], whether source and target are one recording, which must not be heard as it is.
        teacher: [B, T, 96], what the teacher hears in the clean source; counts: [B, T], where.
        f0, voicing: [B, 2 T] of the target.
        envelope: [B, 2 T, 80] of the target relative to its level, normalised.
        bands: [B, 80], 1 where the target has sound to compare with.
        valid: [B, T], False past the end of the clip.
        embedding: [B, 192]; memory_content: [B, N, 96]; memory_envelope: [B, N, MEMORY];
            memory_mask: [B, N] of the reference.
    """

    mel: Tensor
    level: Tensor
    lone: Tensor
    teacher: Tensor
    counts: Tensor
    f0: Tensor
    voicing: Tensor
    envelope: Tensor
    bands: Tensor
    valid: Tensor
    embedding: Tensor
    memory_content: Tensor
    memory_envelope: Tensor
    memory_mask: Tensor

    def to(self, device: torch.device) -> Conversions:
        """The same on another device."""
        return Conversions(*(getattr(self, field.name).to(device) for field in fields(self)))


class Speakers:
    """Packed speech of one kind with embeddings and content, by speaker."""

    def __init__(self, root: Path, kind: str, version: str) -> None:
        """Open the shards of ``root``.

        Args:
            root: folder of all stages.
            kind: ``real`` or ``synthetic``.
            version: of the content, see :func:`training.memory_content.version_of`.
        """
        derived = {
            root / "embeddings" / kind: ("embeddings",),
            root / "teacher" / kind: ("projected",),
            root / "memory_content" / kind / version: ("content",),
        }
        self._library = Library(root / "features" / kind, ARRAYS, derived)
        self._units = Units.load()
        self._by_name: dict[str, list[View]] = {}
        self._rows: dict[tuple[int, int], int] = {}

    @property
    def hours(self) -> float:
        """All views together."""
        return self._library.hours

    def clips(self, split: str) -> list[Clip]:
        """Clips of a split that somebody may sound like."""
        return [clip for clip in self._library.clips[split] if clip.speaks]

    def refresh(self) -> None:
        """Take in new shards whose embeddings and content are there."""
        if not self._library.refresh():
            return
        self._by_name = {}
        for clips in self._library.clips.values():
            for clip in clips:
                for view in clip.views:
                    self._by_name.setdefault(view.name, []).append(view)

    def draw(self, split: str, count: int, frames: int, rng: np.random.Generator) -> Conversions:
        """``count`` random conversions with their references."""
        clips = self.clips(split)
        rows = []
        for index in rng.integers(len(clips), size=count):
            clip = clips[int(index)]
            clean = [view for view in clip.views if not view.degraded]
            target = clean[int(rng.integers(len(clean)))]
            # Somebody else where there is: else the target's own voice could be heard through.
            others = [view for view in clip.views if view.name != target.name]
            said = others or list(clip.views)
            source = said[int(rng.integers(len(said)))]
            start = int(rng.integers(max(1, source.frames - frames + 1)))
            reference = self._reference(target, rng)
            # What is to be said must not be there to be copied.
            same = (reference.shard, reference.target) == (target.shard, target.target)
            hidden = (start - EDGE, start + frames + EDGE) if same else (0, 0)
            bands = np.arange(BANDS) < (BANDS if clip.wide else BANDS_BELOW_7K6)
            rows.append(
                (
                    self._heard(source, start, frames),
                    np.float32(source.level),
                    np.bool_(not others),
                    *self._taught(source, start, frames),
                    *self._said(target, start, frames),
                    bands.astype(np.float32),
                    np.arange(frames) < target.frames - start,
                    *self._memory(reference, hidden, max(REFERENCE_FRAMES), rng),
                )
            )
        return Conversions(
            *(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
        )

    def _reference(self, target: View, rng: np.random.Generator) -> View:
        degraded = rng.random() >= CLEAN_REFERENCE_SHARE
        said = [view for view in self._by_name[target.name] if view.degraded == degraded]
        others = [
            view for view in said if (view.shard, view.target) != (target.shard, target.target)
        ]
        chosen = others or said
        return chosen[int(rng.integers(len(chosen)))]

    def _heard(self, source: View, start: int, frames: int) -> NDArray[np.float32]:
        """Log-mel [2 (BEFORE + frames + AHEAD), MELS] around a segment of a source."""
        first, last = start - BEFORE, start + frames + AHEAD
        inside = slice(max(0, first), max(0, min(last, source.frames)))
        shard = self._library.arrays(source.shard)
        low, high = (2 * (source.first + edge) for edge in (inside.start, inside.stop))
        mel = shard["mel"][low:high].astype(np.float32)
        missing = (2 * (inside.start - first), 2 * (last - inside.stop))
        return np.pad(mel, (missing, (0, 0)), constant_values=SILENCE)

    def _taught(self, source: View, start: int, frames: int) -> tuple[NDArray[Any], ...]:
        """The teacher's content [frames, 96] of a segment and where there is some [frames]."""
        projected = self._library.arrays(source.shard)["projected"]
        have = min(frames, source.frames - start)
        first = source.target + start
        return self._units.wanted(projected[first : first + have], frames)

    def _said(self, target: View, start: int, frames: int) -> tuple[NDArray[np.float32], ...]:
        """F0 and voicing [2 frames] and the envelope [2 frames, BANDS] of a segment."""
        shard = self._library.arrays(target.shard)
        have = min(frames, target.frames - start)
        missing = 2 * (frames - have)
        cue = slice(2 * (target.first + start), 2 * (target.first + start + have))
        shown = slice(2 * (target.target + start), 2 * (target.target + start + have))
        envelope = shard["envelope"][shown].astype(np.float32) - np.float32(target.level)
        return (
            np.pad(shard["f0"][cue].astype(np.float32), (0, missing)),
            np.pad((shard["voicing"][cue] == VOICED).astype(np.float32), (0, missing)),
            np.pad(
                normalise(torch.from_numpy(envelope)).numpy(), ((0, missing), (0, 0)), mode="edge"
            ),
        )

    def _memory(
        self,
        reference: View,
        hidden: tuple[int, int],
        size: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[Any], ...]:
        shard = self._library.arrays(reference.shard)
        wanted = int(rng.integers(REFERENCE_FRAMES[0], size + 1))
        have = min(size if hidden[1] else wanted, reference.frames)
        start = int(rng.integers(reference.frames - have + 1))
        heard = slice(reference.first + start, reference.first + start + have)
        shown = slice(2 * (reference.target + start), 2 * (reference.target + start + have))
        level = np.float32(self._level(reference))
        low = shard["envelope"][shown, :BANDS_BELOW_7K6].astype(np.float32) - level
        envelope = normalise(torch.from_numpy(low)).numpy().reshape(have, MEMORY)
        missing = size - have
        return (
            shard["embeddings"][self._row(reference)],
            np.pad(shard["content"][heard].astype(np.float32), ((0, missing), (0, 0))),
            np.pad(envelope, ((0, missing), (0, 0))),
            shown_frames(start, have, hidden, size),
        )

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


def shown_frames(start: int, have: int, hidden: tuple[int, int], size: int) -> NDArray[np.bool_]:
    """Which frames of a memory may be used; at least some, also where all are hidden.

    Args:
        start: frame of the clip that the memory begins with.
        have: frames in it.
        hidden: first and last (excluded) frame of the clip that must not be seen.
        size: of the mask.
    """
    place = np.arange(size) + start
    inside = np.arange(size) < have
    shown = inside & ((place < hidden[0]) | (place >= hidden[1]))
    if shown.sum() >= FEWEST_FRAMES:
        return shown
    return inside & (np.arange(size) < FEWEST_FRAMES)
