"""The best half minute of a long clip: what a voice is made of, and what is checked of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fast_vc_service.audio.high_pass import high_pass
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray
from fast_vc_service.voices import listening

EXCERPT_S = 30.0
"""Seconds of a clip that a voice is made of."""

_PIECE_S = 3.0
_PIECES = round(EXCERPT_S / _PIECE_S)
_MOST_COMPARED = 32  # speaker embeddings; some 90 ms of CPU each
_LEAST_SPEECH_SHARE = 0.5
_FULL_SCALE = 0.999
_FADE_S = 0.01
_FRAME = SAMPLE_RATE_IN // 50
_FLOOR = 1e-10


@dataclass(frozen=True)
class Excerpt:
    """What is used of a clip.

    Attributes:
        audio: ``[n]`` at the clip's rate.
        spans_s: Where it lies in the clip, seconds from and to, in order.
    """

    audio: FloatArray
    spans_s: tuple[tuple[float, float], ...]


def best_excerpt(audio: FloatArray, sample_rate: int) -> Excerpt:
    """Choose what is used of a clip ``[n]``; the same on every run.

    All of a clip of at most 30 s. Of a longer one the pieces of 3 s, in order, of the one who
    speaks most, unclipped, with the highest signal-to-noise ratio.
    """
    size = round(_PIECE_S * sample_rate)
    if len(audio) <= EXCERPT_S * sample_rate:
        return Excerpt(audio, ((0.0, len(audio) / sample_rate),))
    heard = high_pass(resample(audio, sample_rate, SAMPLE_RATE_IN), SAMPLE_RATE_IN)
    size_16k = round(_PIECE_S * SAMPLE_RATE_IN)
    count = min(len(audio) // size, len(heard) // size_16k)
    pieces = heard[: count * size_16k].reshape(count, size_16k)
    spoken = listening.is_speech(heard)[: count * size_16k].reshape(count, size_16k)
    loud = np.abs(audio[: count * size].reshape(count, size)).max(1)
    share = spoken.mean(1)
    usable = np.flatnonzero((share >= _LEAST_SPEECH_SHARE) & (loud < _FULL_SCALE))
    if len(usable) == 0:
        # Better clipped or little speech than none; of pure silence the beginning.
        usable = np.flatnonzero(share > 0) if share.any() else np.arange(count)
    own = usable[_one_speaker(pieces[usable])]
    clear = _signal_to_noise_db(pieces, spoken)[own] + 10.0 * np.log10(share[own] + _FLOOR)
    best = np.sort(own[np.argsort(-clear, kind="stable")[:_PIECES]])
    return _joined(audio, best, size, sample_rate)


def _signal_to_noise_db(
    pieces: FloatArray, spoken: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Speech over the quietest tenth, of each of ``[N, n]`` pieces."""
    squares = np.square(pieces, dtype=np.float64)
    whole = pieces.shape[1] // _FRAME * _FRAME
    power = squares[:, :whole].reshape(len(pieces), -1, _FRAME).mean(2)
    speech = np.where(spoken, squares, 0.0).sum(1) / np.maximum(spoken.sum(1), 1)
    noise = np.maximum(np.percentile(power, 10, axis=1), _FLOOR)
    return np.asarray(10.0 * np.log10(np.maximum(speech, _FLOOR) / noise))


def _one_speaker(pieces: FloatArray) -> npt.NDArray[np.intp]:
    """Indices of the pieces ``[N, n]`` of whoever says most of them."""
    chosen = np.arange(len(pieces))
    if len(pieces) > _MOST_COMPARED:
        chosen = np.linspace(0, len(pieces) - 1, _MOST_COMPARED).astype(np.intp)
    if len(chosen) < 2:
        return chosen
    vectors = listening.speaker_embeddings(list(pieces[chosen]))
    alike = vectors @ vectors.T
    groups: list[list[int]] = [[index] for index in range(len(chosen))]
    means = alike.copy()
    # Average linkage: the two groups that are most alike become one, until none are.
    while len(groups) > 1:
        np.fill_diagonal(means, -1.0)
        one, other = (int(index) for index in np.unravel_index(means.argmax(), means.shape))
        if means[one, other] < listening.ONE_SPEAKER:
            break
        sizes = len(groups[one]), len(groups[other])
        row = (sizes[0] * means[one] + sizes[1] * means[other]) / sum(sizes)
        means[one], means[:, one] = row, row
        groups[one] += groups[other]
        means = np.delete(np.delete(means, other, 0), other, 1)
        del groups[other]
    largest: list[int] = max(groups, key=len)
    return chosen[sorted(largest)]


def _joined(
    audio: FloatArray, pieces: npt.NDArray[np.intp], size: int, sample_rate: int
) -> Excerpt:
    """Join pieces of ``size`` samples; where they were not side by side, without a click."""
    fade = round(_FADE_S * sample_rate)
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    runs = np.split(pieces, np.flatnonzero(np.diff(pieces) > 1) + 1)
    parts, spans = [], []
    for run in runs:
        first, last = int(run[0]) * size, (int(run[-1]) + 1) * size
        part = audio[first:last].copy()
        part[:fade] *= ramp
        part[-fade:] *= ramp[::-1]
        parts.append(part)
        spans.append((first / sample_rate, last / sample_rate))
    return Excerpt(np.concatenate(parts), tuple(spans))
