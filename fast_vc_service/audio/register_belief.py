"""What the first words say of a speaker's register: a distribution over where its median may lie.

Openings mislead. They lie high, creak, and trackers err by octaves in them; a running median of
half a second is off by 10 semitones for one speaker in ten. So each voiced frame is taken as
evidence, weighed by how far frames of openings were found from the median of all that somebody
says, on top of what is known of people: registers of men and women, and few between.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from fast_vc_service.protocol.limits import SOURCE_F0_HZ

DoubleArray = npt.NDArray[np.float64]

_SEMITONE = math.log(2.0) / 12.0
_STEP, _FINE = 0.25, 20
_COARSE = round(_STEP * _FINE)
_PLACES = np.arange(
    math.log(SOURCE_F0_HZ[0]) / _SEMITONE, math.log(SOURCE_F0_HZ[1]) / _SEMITONE, _STEP
)
_REACH = len(_PLACES) * _COARSE

# Measured on recordings of 230 speakers that the benchmark of first words does not hear.
_LOW_HZ, _HIGH_HZ, _EITHER_SPREAD = 118.0, 210.0, 3.0
_LOW_SHARE, _NEITHER_SHARE = 0.45, 0.05
_MOST_LIKELY, _BELOW, _ABOVE = 0.3, 2.2, 2.6
_STRAY_SHARE, _STRAY_LOWEST, _STRAY_HIGHEST = 0.25, -21.0, 15.0

_EVIDENCE_PER_S = 15.0
"""Independent frames in a second: neighbours say the same."""


@cache
def before_the_first_word() -> DoubleArray:
    """Return the log probability ``[places]`` of every register of somebody unknown; read only."""
    low, high = (
        np.exp(-0.5 * ((_PLACES - math.log(centre) / _SEMITONE) / _EITHER_SPREAD) ** 2)
        for centre in (_LOW_HZ, _HIGH_HZ)
    )
    people = _LOW_SHARE * low / low.sum() + (1.0 - _LOW_SHARE) * high / high.sum()
    belief: DoubleArray = np.log((1.0 - _NEITHER_SHARE) * people + _NEITHER_SHARE / len(_PLACES))
    belief.flags.writeable = False
    return belief


def after(belief: DoubleArray, log_f0: float, certainty: float, frame_s: float) -> DoubleArray:
    """Return what is believed after one more voiced frame; ``belief`` is not changed.

    Args:
        belief: ``[places]``, log probabilities up to a constant.
        log_f0: Natural log of Hz.
        certainty: From 0 to 1, how sure the tracker is of it.
        frame_s: Length of the frame.
    """
    first = round((log_f0 / _SEMITONE - _PLACES[0]) * _FINE) + _REACH
    said: DoubleArray = belief.copy()
    said += certainty * frame_s * _EVIDENCE_PER_S * _evidence()[first::-_COARSE][: len(belief)]
    return said


@cache
def _evidence() -> DoubleArray:
    """Log likelihood of a frame so far above the register, from ``-_REACH`` to ``_REACH``."""
    off = np.arange(-_REACH, _REACH + 1) / _FINE
    above = off - _MOST_LIKELY
    near = np.exp(-np.abs(above) / np.where(above < 0.0, _BELOW, _ABOVE)) / (_BELOW + _ABOVE)
    stray = ((off > _STRAY_LOWEST) & (off < _STRAY_HIGHEST)) / (_STRAY_HIGHEST - _STRAY_LOWEST)
    evidence: DoubleArray = np.log((1.0 - _STRAY_SHARE) * near + _STRAY_SHARE * stray + 1e-5)
    return evidence


def median(belief: DoubleArray) -> float:
    """Return the natural log of Hz that the register is as likely to lie below as above."""
    shares = np.cumsum(np.exp(belief - belief.max()))
    half = shares[-1] / 2.0
    place = int(np.searchsorted(shares, half))
    below = float(shares[place - 1]) if place else 0.0
    part = (half - below) / (float(shares[place]) - below)
    return float((_PLACES[place] + (part - 0.5) * _STEP) * _SEMITONE)
