"""Several channels to one, so that speech survives: no channel cancels another, none is lost.

Where two channels carry the same speech (they correlate, at any delay up to 10 ms and in either
phase) the louder one is taken; where they carry different speech both are added. Loudness counts
above the speech band's lower end only, and what never rises above its own floor (hiss, hum, an
effects channel) does not count at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fast_vc_service.audio.high_pass import DoubleArray, HighPass
from fast_vc_service.contract import FloatArray

SAME_SPEECH = 0.6
"""Correlation from which two channels are taken to carry the same speech."""

LONGEST_DELAY_S = 0.01

_FRAME_S, _FRAMES_A_CHUNK = 0.02, 5
BAND_HZ = 8_000
PREEMPHASIS = 0.95
ABOVE_FLOOR = 4.0  # 6 dB; speech rises further above its pauses, steady noise does not
FLOOR_PERCENTILE = 10
NOTHING = 1e-6  # 60 dB below the loudest channel: what a codec leaves of an empty one
FAINT = 1e-2  # 20 dB below the channel with most speech
LOUDER = 4.0  # 6 dB, by which another channel must be louder to be taken instead
LEAST_SUM_GAIN = 0.84  # two talkers at once become 1.5 dB louder, one of them 1.5 dB softer
_ALIGNED = 0.1
UNHEARD = 1e-12  # energy that says nothing about what a channel carries
_SMOOTHER = 5  # frames of 20 ms over which loudness is compared
_FADE = 3  # frames of 20 ms


@dataclass(frozen=True)
class Measured:
    """What was measured of C channels over T frames of 20 ms.

    Attributes:
        power: ``[T, C]`` mean squares of the pre-emphasised band.
        correlation: ``[C, C, 2 L + 1]`` sums of products at lags of -L to L.
    """

    power: DoubleArray
    correlation: DoubleArray


@dataclass(frozen=True)
class Roles:
    """What each of C channels is good for.

    Attributes:
        groups: Channels with the same speech, the one with most of it first; groups differ.
        polarity: ``[C]``, 1 or -1: what aligns a channel with the first of its group.
        gain: Of the sum over the groups.
    """

    groups: tuple[tuple[int, ...], ...]
    polarity: DoubleArray
    gain: float


class Meter:
    """Measures a stream of C channels, 100 ms at a time.

    Args:
        sample_rate: Hz.
        channels: C.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._filter = HighPass.at(sample_rate)
        self._states: list[DoubleArray | None] = [None] * channels
        self._every = max(1, sample_rate // BAND_HZ)
        self.frame = max(1, round(_FRAME_S * sample_rate / self._every)) * self._every
        self._lags = max(1, round(LONGEST_DELAY_S * sample_rate / self._every))
        self._rest = np.zeros((0, channels), np.float32)

    def push(self, samples: FloatArray) -> list[Measured]:
        """Take ``[n, C]``; return what was measured of each 100 ms that are complete."""
        if not len(samples):
            return []
        heard = np.empty_like(samples)
        for channel, state in enumerate(self._states):
            heard[:, channel], self._states[channel] = self._filter.step(samples[:, channel], state)
        self._rest = np.concatenate([self._rest, heard])
        chunk = self.frame * _FRAMES_A_CHUNK
        count = len(self._rest) // chunk
        chunks = self._rest[: count * chunk].reshape(count, chunk, self._rest.shape[1])
        self._rest = self._rest[count * chunk :]
        return [self._measure(chunk) for chunk in chunks]

    def flush(self) -> list[Measured]:
        """Return what was measured of the rest, padded with silence."""
        missing = -len(self._rest) % (self.frame * _FRAMES_A_CHUNK)
        self._states = [np.zeros_like(state) for state in self._states if state is not None]
        return self.push(np.zeros((missing, self._rest.shape[1]), np.float32)) if missing else []

    def _measure(self, chunk: FloatArray) -> Measured:
        band = chunk.reshape(-1, self._every, chunk.shape[1]).mean(1, dtype=np.float64)
        band[1:] -= PREEMPHASIS * band[:-1]
        band[0] = 0.0
        power = np.square(band).reshape(_FRAMES_A_CHUNK, -1, band.shape[1]).mean(1)
        size = len(band) + self._lags
        spectra = np.fft.rfft(band.T, size)
        products = np.fft.irfft(spectra[:, None].conj() * spectra[None], size)
        lags = np.arange(-self._lags, self._lags + 1)
        return Measured(power, products[:, :, lags])


def roles_of(measured: Measured) -> Roles:
    """Say what each channel is good for, from whole clips or the last seconds of a stream."""
    speech = _speech(measured.power)
    order = [int(channel) for channel in np.argsort(-speech, kind="stable")]
    energy = np.diagonal(measured.correlation[:, :, measured.correlation.shape[2] // 2])
    middle = measured.correlation.shape[2] // 2
    groups: list[list[int]] = []
    polarity = np.ones(len(speech))
    alike = 0.0
    for channel in order:
        if groups and speech[channel] <= FAINT * speech[order[0]]:
            continue
        for group in groups:
            scale = np.sqrt(energy[group[0]] * energy[channel]) + 1e-20
            coefficients = measured.correlation[group[0], channel] / scale
            best = float(coefficients[np.argmax(np.abs(coefficients))])
            unheard = min(energy[group[0]], energy[channel]) < UNHEARD
            if abs(best) >= SAME_SPEECH or unheard:
                polarity[channel] = (np.sign(best) or 1.0) * polarity[group[0]]
                group.append(channel)
                break
        else:
            if groups:
                first = groups[0][0]
                scale = np.sqrt(energy[first] * energy[channel]) + 1e-20
                together = float(measured.correlation[first, channel, middle] / scale)
                if abs(together) > _ALIGNED:
                    polarity[channel] = np.sign(together)
                    alike = max(alike, abs(together))
            groups.append([channel])
    total = sum(speech[group[0]] for group in groups) / max(speech[order[0]], 1e-20)
    gain = max(LEAST_SUM_GAIN, 1.0 / np.sqrt(max(total, 1.0))) / np.sqrt(1.0 + alike)
    return Roles(tuple(tuple(group) for group in groups), polarity, float(gain))


def _speech(power: DoubleArray) -> DoubleArray:
    """Power ``[C]`` of what rises above a channel's own floor; of everything if nothing does."""
    floor = np.percentile(power, FLOOR_PERCENTILE, axis=0)
    least = np.maximum(ABOVE_FLOOR * floor, NOTHING * power.mean(0).max())
    rising: DoubleArray = np.where(power > least, power, 0.0).mean(0)
    if not rising.any():
        return np.asarray(power.mean(0))
    return rising


def mix(blocks: Iterable[FloatArray], plan: MixPlan) -> Iterable[FloatArray]:
    """Yield the mono ``[n]`` of blocks ``[n, C]`` of the clip that ``plan`` was made of."""
    position = 0
    for block in blocks:
        yield plan.mixed(block, position)
        position += len(block)


class MixPlan:
    """How a whole clip is mixed: gains ``[T, C]`` at the middles of frames of 20 ms."""

    def __init__(self, gains: DoubleArray, frame: int) -> None:
        self._gains = gains
        self._frame = frame

    @classmethod
    def of(cls, blocks: Iterable[FloatArray], sample_rate: int, channels: int) -> MixPlan:
        """Measure the whole clip, ``[n, C]`` a block."""
        meter = Meter(sample_rate, channels)
        power: list[DoubleArray] = []
        correlation: DoubleArray | float = 0.0
        for block in blocks:
            for measured in meter.push(block):
                power.append(measured.power)
                correlation = correlation + measured.correlation
        for measured in meter.flush():
            power.append(measured.power)
            correlation = correlation + measured.correlation
        whole = Measured(np.concatenate(power), np.asarray(correlation))
        return cls(_gains(roles_of(whole), whole.power), meter.frame)

    def mixed(self, samples: FloatArray, position: int) -> FloatArray:
        """Mix ``[n, C]`` that begin at sample ``position`` of the clip."""
        places = (np.arange(position, position + len(samples)) + 0.5) / self._frame - 0.5
        out = np.zeros(len(samples))
        frames = np.arange(len(self._gains))
        for channel in range(samples.shape[1]):
            if self._gains[:, channel].any():
                gains = np.interp(places, frames, self._gains[:, channel])
                out += gains * samples[:, channel]
        return np.clip(out, -1.0, 1.0).astype(np.float32)


def _gains(roles: Roles, power: DoubleArray) -> DoubleArray:
    """Gains ``[T, C]``: of each group the channel that is loudest just then."""
    gains = np.zeros_like(power)
    around = np.apply_along_axis(np.convolve, 0, power, np.ones(_SMOOTHER) / _SMOOTHER, "same")
    around = around[: len(power)]
    for group in roles.groups:
        chosen = chosen_of(group, around)
        gains[np.arange(len(power)), chosen] = roles.polarity[chosen] * roles.gain
    fade = np.ones(_FADE) / _FADE
    padded = np.pad(gains, ((_FADE // 2, _FADE // 2), (0, 0)), "edge")
    return np.apply_along_axis(np.convolve, 0, padded, fade, "valid")


def chosen_of(group: Sequence[int], power: DoubleArray) -> npt.NDArray[np.intp]:
    """Return the channel of ``group`` to be heard in each of T frames.

    The first, unless another is much louder; that is then held until the first is as loud again.
    """
    chosen = np.empty(len(power), np.intp)
    first = now = group[0]
    for frame, levels in enumerate(power):
        loudest = max(group, key=lambda channel: levels[channel])
        if levels[loudest] > LOUDER * levels[now]:
            now = loudest
        elif levels[first] >= levels[now]:
            now = first
        chosen[frame] = now
    return chosen
