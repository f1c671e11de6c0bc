"""How loud somebody speaks: a running mean, so that the networks always hear one level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NEUTRAL = -2.8
"""Log energy (:func:`spectrum.frame_energy`) of voiced frames assumed until some were heard."""

_PRIOR_S = 0.5
_MEMORY_S = 8.0
FRAME_S = 0.01


@dataclass(frozen=True, slots=True)
class Level:
    """An immutable running mean of the log energy of voiced frames.

    Attributes:
        mean: Log energy; :data:`NEUTRAL` weighs as half a second of speech.
        heard_s: Seconds of voiced speech that count, at most 8.
    """

    mean: float = NEUTRAL
    heard_s: float = _PRIOR_S


def follow(level: Level, energy: npt.NDArray[np.floating], voiced: npt.NDArray[np.bool_]) -> Level:
    """Learn from the next frames of 10 ms; the same however they are cut into calls."""
    mean, heard_s = level.mean, level.heard_s
    for value in energy[voiced].tolist():
        heard_s = min(heard_s + FRAME_S, _MEMORY_S)
        mean += (value - mean) * FRAME_S / heard_s
    return Level(mean, heard_s)
