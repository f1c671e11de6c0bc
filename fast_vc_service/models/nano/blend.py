"""A voice between others: the weighted mean of what has one, and a share of each one's frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fast_vc_service.contract import Voice
from fast_vc_service.models.nano.voice import FAMILY, MEMORY_FRAMES, Target

EMBEDDING = 192
"""Numbers of a speaker's vector that are a direction; the others are means and deviations."""

_MEANS = ("vector", "register", "correction", "average")
_FRAMES = ("content", "envelope")

Features = dict[str, npt.NDArray[np.float32]]


def blend_voices(name: str, parts: Sequence[tuple[Voice, float]]) -> Voice:
    """Return the voice between those of ``parts``, by their shares (1 in all).

    Averaged are the direction of the speaker embedding, the long-term spectra and the median of
    log F0. Frames to borrow from are not averaged, for they say different things: the memory holds
    some of each voice, in proportion.

    Raises:
        ValueError: A voice is of another family, or damaged.
    """
    for voice, _ in parts:
        Target.of(voice)
    features: Features = {
        key: sum(
            (np.float32(share) * voice.features[key].astype(np.float32) for voice, share in parts),
            np.zeros(1, np.float32),
        )
        for key in _MEANS
    }
    direction = features["vector"][:EMBEDDING]
    direction *= np.sqrt(EMBEDDING) / max(float(np.linalg.norm(direction)), 1e-6)
    features |= _memory(parts)
    return Voice(name, FAMILY, {key: value.astype(np.float16) for key, value in features.items()})


def _memory(parts: Sequence[tuple[Voice, float]]) -> Features:
    held = [int((voice.features["mask"] > 0).sum()) for voice, _ in parts]
    # A short clip has fewer frames than its share: then all have fewer, in proportion.
    room = min(
        MEMORY_FRAMES, *(count / share for count, (_, share) in zip(held, parts, strict=True))
    )
    chosen = [
        np.linspace(0, count - 1, max(1, int(share * room))).astype(np.intp)
        for count, (_, share) in zip(held, parts, strict=True)
    ]
    features: Features = {}
    for key in _FRAMES:
        rows = np.concatenate(
            [voice.features[key][frames] for (voice, _), frames in zip(parts, chosen, strict=True)]
        )[:MEMORY_FRAMES]
        padding = MEMORY_FRAMES - len(rows)
        features[key] = np.pad(rows.astype(np.float32), ((0, padding), (0, 0)))
    features["mask"] = (np.arange(MEMORY_FRAMES) < sum(map(len, chosen))).astype(np.float32)
    return features
