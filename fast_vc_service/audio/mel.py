"""Mel spectrograms as librosa defines them, on torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

_BREAK_HZ, _HZ_PER_MEL = 1000.0, 200.0 / 3
_LOG_STEP = np.log(6.4) / 27


@dataclass(frozen=True)
class MelSettings:
    """What a log-mel spectrogram is made with.

    Attributes:
        sample_rate: Hz.
        window: Samples of the Hann window, also the FFT's length.
        hop: Samples from frame to frame.
        bins: Mel bins.
        low_hz: Lower end of the first triangle.
        high_hz: Upper end of the last one.
        centred: Frame k is centred on sample ``k * hop``; else the padding is half of
            ``window - hop`` a side, so that n hops give n frames.
        htk: HTK's mel scale instead of Slaney's; the triangles have Slaney's area either way.
        epsilon: Added to the power before the root.
    """

    sample_rate: int
    window: int
    hop: int
    bins: int
    low_hz: float
    high_hz: float
    centred: bool = False
    htk: bool = False
    epsilon: float = 1e-9

    @property
    def padding(self) -> int:
        """Samples reflected at each side; a clip must be longer."""
        return self.window // 2 if self.centred else (self.window - self.hop) // 2


FLOOR = 1e-5
"""Smallest magnitude; its logarithm, -11.5, is what silence looks like."""


def log_mel(audio: Tensor, settings: MelSettings) -> Tensor:
    """Natural logarithm of the mel magnitudes.

    Args:
        audio: ``[B, samples]`` in [-1, 1].
        settings: See there.

    Returns:
        ``[B, bins, frames]``; ``samples // hop`` frames, one more if centred.

    Raises:
        ValueError: Not more samples than the padding reflects.
    """
    if audio.ndim != 2 or audio.shape[1] <= settings.padding:
        raise ValueError(
            f"expected [B, samples] with more than {settings.padding} samples, "
            f"got {list(audio.shape)}"
        )
    window, filters = _constants(settings, audio.device)
    padded = functional.pad(audio[:, None], (settings.padding, settings.padding), "reflect")[:, 0]
    spectrum = torch.stft(
        padded, settings.window, settings.hop, window=window, center=False, return_complex=True
    )
    magnitude = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + settings.epsilon)
    return torch.log((filters @ magnitude).clamp(min=FLOOR))


@cache
def _constants(settings: MelSettings, device: torch.device) -> tuple[Tensor, Tensor]:
    """Periodic Hann window and triangles ``[bins, window / 2 + 1]``."""
    window = torch.hann_window(settings.window)
    return window.to(device), torch.from_numpy(filterbank(settings)).to(device)


def filterbank(settings: MelSettings) -> npt.NDArray[np.float32]:
    """Return the triangles ``[bins, window / 2 + 1]``, of equal area."""
    low, high = (_to_mel(hz, settings.htk) for hz in (settings.low_hz, settings.high_hz))
    edges = _to_hz(np.linspace(low, high, settings.bins + 2), settings.htk)
    places = np.fft.rfftfreq(settings.window, 1.0 / settings.sample_rate)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (places - left) / (centre - left)
    falling = (right - places) / (right - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * (2.0 / (right - left))).astype(np.float32)


def _to_mel(hz: float, htk: bool) -> float:
    if htk:
        return float(2595.0 * np.log10(1.0 + hz / 700.0))
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return float(_BREAK_HZ / _HZ_PER_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _to_hz(mel: npt.NDArray[np.float64], htk: bool) -> npt.NDArray[np.float64]:
    if htk:
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    corner = _BREAK_HZ / _HZ_PER_MEL
    bent = _BREAK_HZ * np.exp(_LOG_STEP * (mel - corner))
    return np.where(mel < corner, mel * _HZ_PER_MEL, bent)
