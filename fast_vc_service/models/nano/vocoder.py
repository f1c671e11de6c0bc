"""Vocoder: pulses and noise through filters that a small causal network draws every 10 ms.

A source-filter vocoder in the line of WORLD and of neural source-filter models: the envelope gives
the filters' first shape, the network what the envelope cannot say (how much is noise, how the
pulse is dispersed). Filters are applied by FFT to Hann-windowed pieces of the excitation and
overlap-added, so the delay is one hop and a half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.models.nano.envelope import BANDS, FFT_SIZE, FLOOR, HOP_SAMPLES, filters
from fast_vc_service.models.nano.excitation import pulses
from fast_vc_service.models.nano.layers import ConvBlock

WINDOW = 2 * HOP_SAMPLES
FILTER_FFT = 768
"""Room for a window of excitation and 12 ms of ringing."""

BINS = FILTER_FFT // 2 + 1
TAIL = FILTER_FFT - HOP_SAMPLES
DELAY_SAMPLES = 3 * HOP_SAMPLES // 2
"""Output trails input frames by so many samples at 24 kHz."""

_RESTING_F0_HZ = 150.0


@dataclass(frozen=True)
class VocoderConfig:
    """Sizes of the network."""

    width: int = 256
    blocks: int = 5
    kernel: int = 7


@dataclass(frozen=True)
class VocoderState:
    """What a session keeps between steps.

    Attributes:
        caches: one a block, [B, frames, width].
        envelope: [B, 1, BANDS], voicing: [B, 1], the newest frame, not yet spoken.
        f0_hz: [B], held through unvoiced frames.
        phase: [B] cycles, float64.
        excitation: [B, 2, HOP_SAMPLES], the newest hop of pulses and noise.
        tail: [B, TAIL], overlap of the pieces still to come.
        frames: [B], frames taken in so far.
    """

    caches: tuple[Tensor, ...]
    envelope: Tensor
    voicing: Tensor
    f0_hz: Tensor
    phase: Tensor
    excitation: Tensor
    tail: Tensor
    frames: Tensor


def _band_to_bin() -> Tensor:
    """Matrix [BANDS, BINS] that interpolates log envelopes between the bands' centres."""
    triangles = filters()
    centres = triangles @ np.arange(triangles.shape[1]) / FFT_SIZE
    bins = np.arange(BINS) / FILTER_FFT
    matrix = np.stack([np.interp(bins, centres, unit) for unit in np.eye(BANDS)])
    return torch.from_numpy(matrix.astype(np.float32))


def minimum_phase(log_gain: Tensor) -> Tensor:
    """Phase [..., BINS] of the causal filter that has log gains [..., BINS]."""
    cepstrum = torch.fft.irfft(log_gain, FILTER_FFT)
    half = FILTER_FFT // 2
    odd = torch.cat(
        [
            torch.zeros_like(cepstrum[..., :1]),
            cepstrum[..., 1:half],
            torch.zeros_like(cepstrum[..., :1]),
            -cepstrum[..., half + 1 :],
        ],
        -1,
    )
    phase: Tensor = torch.fft.rfft(odd).imag
    return phase


def hold_f0(f0_hz: Tensor, voicing: Tensor, before: Tensor) -> Tensor:
    """F0 [B, T], the last voiced value (at first ``before`` [B]) kept where unvoiced."""
    values = torch.cat([before[:, None], f0_hz], 1)
    sure = torch.cat([torch.ones_like(before[:, None]), (voicing > 0.5) & (f0_hz > 0)], 1)
    positions = torch.arange(values.shape[1], device=values.device) * (sure > 0)
    return values.gather(1, torch.cummax(positions.long(), 1).values)[:, 1:]


class Vocoder(nn.Module):
    """See the module's description."""

    band_to_bin: Tensor
    window: Tensor

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Linear(BANDS + 2, config.width)
        self.blocks = nn.ModuleList(
            ConvBlock(config.width, config.kernel, int(index == 0))
            for index in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.width)
        self.to_filters = nn.Linear(config.width, 3 * BINS)
        nn.init.zeros_(self.to_filters.bias)
        nn.init.normal_(self.to_filters.weight, std=0.01)
        self.register_buffer("band_to_bin", _band_to_bin(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def new_state(self, batch: int, device: torch.device | None = None) -> VocoderState:
        """The state of ``batch`` sessions that have said nothing."""
        caches = tuple(
            torch.zeros(batch, block.cache_frames, self.config.width, device=device)
            for block in self.blocks
            if isinstance(block, ConvBlock)
        )
        zeros = torch.zeros(batch, device=device)
        return VocoderState(
            caches,
            torch.full((batch, 1, BANDS), math.log(FLOOR), device=device),
            zeros[:, None],
            zeros + _RESTING_F0_HZ,
            zeros.double(),
            torch.zeros(batch, 2, HOP_SAMPLES, device=device),
            torch.zeros(batch, TAIL, device=device),
            torch.zeros(batch, dtype=torch.long, device=device),
        )

    def _filters(
        self, envelope: Tensor, f0_hz: Tensor, voicing: Tensor, state: VocoderState
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Network outputs [B, T, 3, BINS] for the frames one behind the input; new caches."""
        pitch = torch.log(f0_hz / _RESTING_F0_HZ) * voicing
        x = torch.cat([(envelope + 7.0) / 3.0, pitch[..., None], voicing[..., None]], -1)
        h = self.stem(x)
        first, caches = state.frames, []
        for block, cache in zip(self.blocks, state.caches, strict=True):
            assert isinstance(block, ConvBlock)  # noqa: S101 - for the type checker
            h, kept = block.stream(h, cache, first)
            first = first - block.right
            caches.append(kept)
        out = self.to_filters(self.norm(h))
        return out.unflatten(-1, (3, BINS)).float(), tuple(caches)

    def stream(
        self, envelope: Tensor, f0_hz: Tensor, voicing: Tensor, noise: Tensor, state: VocoderState
    ) -> tuple[Tensor, VocoderState]:
        """Speak T more frames.

        Args:
            envelope: [B, T, BANDS] log amplitudes.
            f0_hz: [B, T], only read where voiced.
            voicing: [B, T] in [0, 1].
            noise: [B, T * HOP_SAMPLES] white, unit variance, for the same frames.
            state: left as it was.

        Returns:
            [B, T * HOP_SAMPLES] at 24 kHz, DELAY_SAMPLES behind the frames, and the new state.
        """
        batch, frames, _ = envelope.shape
        held = hold_f0(f0_hz, voicing, state.f0_hz)
        train, phase = pulses(state.f0_hz, held, state.phase)
        drawn, caches = self._filters(envelope, held, voicing, state)

        # Pieces of excitation around the middles of the frames one behind.
        fresh = torch.stack([train, noise], 1)
        joined = torch.cat([state.excitation, fresh], -1)
        pieces = joined.unfold(-1, WINDOW, HOP_SAMPLES) * self.window
        spectra = torch.fft.rfft(pieces, FILTER_FFT)

        behind = torch.cat([state.envelope, envelope], 1)[:, :frames]
        voiced = torch.cat([state.voicing, voicing], 1)[:, :frames, None]
        gain = behind @ self.band_to_bin
        harmonic, hiss, bend = drawn.unbind(2)
        tonal = gain + harmonic
        noisy = gain + hiss
        tonal_phase = minimum_phase(tonal) + bend
        answer = torch.polar(torch.exp(tonal) * voiced, tonal_phase) * spectra[:, 0]
        answer = answer + torch.polar(torch.exp(noisy), minimum_phase(noisy)) * spectra[:, 1]
        ringing = torch.fft.irfft(answer, FILTER_FFT)

        total = frames * HOP_SAMPLES + TAIL
        sound = functional.fold(
            ringing.transpose(1, 2), (1, total), (1, FILTER_FFT), stride=(1, HOP_SAMPLES)
        ).reshape(batch, total)
        sound = sound + functional.pad(state.tail, (0, total - TAIL))
        ready = frames * HOP_SAMPLES
        return sound[:, :ready], VocoderState(
            caches,
            envelope[:, -1:],
            voicing[:, -1:],
            held[:, -1],
            phase,
            joined[..., ready:],
            sound[:, ready:],
            state.frames + frames,
        )

    def forward(self, envelope: Tensor, f0_hz: Tensor, voicing: Tensor, noise: Tensor) -> Tensor:
        """A whole clip, without the delay: [B, T * HOP_SAMPLES] from T frames."""
        late = functional.pad(envelope, (0, 0, 0, 2), value=math.log(FLOOR))
        sound, _ = self.stream(
            late,
            functional.pad(f0_hz, (0, 2)),
            functional.pad(voicing, (0, 2)),
            functional.pad(noise, (0, 2 * HOP_SAMPLES)),
            self.new_state(len(envelope), envelope.device),
        )
        return sound[:, DELAY_SAMPLES : DELAY_SAMPLES + envelope.shape[1] * HOP_SAMPLES]
