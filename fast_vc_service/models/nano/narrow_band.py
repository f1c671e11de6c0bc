"""Reference clips that lack bands: what came through a telephone or a dull microphone.

The bands that such a clip leaves empty say nothing of the voice. They count as unknown.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from fast_vc_service.models.nano.f0_tracker import F0Tracker, f0_from_logits
from fast_vc_service.models.nano.pitch import UNVOICED, VOICED
from fast_vc_service.models.nano.source_envelope import SourceEnvelope
from fast_vc_service.models.nano.spectrum import HOP_SAMPLES

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_LACKING = 1.7
"""Nepers (15 dB) below the mean of all voices from where on a band at either end is empty."""

_MARGIN = 4
"""Bands next to empty ones that the edge of the filter still reaches."""

_EDGE = 4
"""Known bands next to empty ones that those are continued from."""


_SURE, _LOUD = 1.0, 10**-2.5
"""Logit of voicing, and share of the loudest power over 50 ms, of frames that count as voiced: as
strict as DIO, so that the median F0 is that of the same clip in full."""


def tracked_pitch(
    speech: FloatArray, tracker: F0Tracker, device: torch.device
) -> tuple[FloatArray, npt.NDArray[np.int8]]:
    """F0 in Hz (0: none) and voicing every 10 ms, as :func:`pitch.pitch`, by the network.

    It knows speech without a fundamental, in which zero crossings find its harmonics.

    Args:
        speech: [samples] at 16 kHz, whole hops.
        tracker: The network.
        device: Where it is.
    """
    late = tracker.delay_frames
    samples = torch.from_numpy(np.pad(speech, (0, late * HOP_SAMPLES)))[None].to(device)
    with torch.inference_mode():
        logits, likely, _ = tracker.stream(samples, tracker.new_state(1, device))
        f0 = f0_from_logits(logits)[0, late:].cpu().numpy()
        sure = (likely[0, late:] > _SURE).cpu().numpy()
    power = np.square(speech.reshape(-1, HOP_SAMPLES)).mean(1)
    power = np.convolve(power, np.ones(5) / 5, "same")
    voiced = sure & (power > _LOUD * power.max(initial=0.0))
    return np.where(voiced, f0, 0.0), np.where(voiced, VOICED, UNVOICED).astype(np.int8)


def empty_bands(average: FloatArray) -> BoolArray:
    """Tell which bands [bands] a clip lacks from its long-term spectrum [bands].

    Only such as reach to either end: a hole in between is the voice's own.
    """
    lacking = average < _typical() - _LACKING
    low, high = (np.logical_and.accumulate(each) for each in (lacking, lacking[::-1]))
    for run in (low, high):
        reach = int(run.sum())
        run[:] = np.arange(len(run)) < (reach + _MARGIN if reach else 0)
    return np.asarray(low | high[::-1])


def continued(frames: FloatArray, empty: BoolArray) -> FloatArray:
    """``frames`` [n, bands] whose empty bands follow the nearest known ones, as most voices do."""
    known = np.flatnonzero(~empty)
    if not empty.any() or not len(known):
        return frames
    filled = frames.copy()
    typical = _typical()
    for bands, edge in (
        (np.flatnonzero(empty[: known[0]]), known[:_EDGE]),
        (known[-1] + 1 + np.arange(len(empty) - known[-1] - 1), known[-_EDGE:]),
    ):
        higher = frames[:, edge] - typical[edge]
        filled[:, bands] = typical[bands] + higher.mean(1, keepdims=True)
    return filled


def _typical() -> FloatArray:
    return SourceEnvelope().mean
