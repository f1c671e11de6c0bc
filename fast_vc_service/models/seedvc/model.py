"""The ``seedvc`` window model: content, condition, flow and vocoder over one window.

``engine/window.py`` makes a stream of it. Between windows it keeps little: where the harmonic
source's phase stood, and the source's register. Noise belongs to a place in the stream, so
overlapping windows see the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from fast_vc_service.audio.loudness import mix_rms
from fast_vc_service.audio.register import Register, track
from fast_vc_service.contract import (
    BLOCK_QUANTUM,
    SAMPLE_RATE_IN,
    CannotBlendError,
    FloatArray,
    Voice,
)
from fast_vc_service.models.gate import gains
from fast_vc_service.models.host_copies import to_device, to_host
from fast_vc_service.models.pieces import between_pieces
from fast_vc_service.models.seedvc import hift
from fast_vc_service.models.seedvc.dit_layers import Conditioning
from fast_vc_service.models.seedvc.f0 import shifted
from fast_vc_service.models.seedvc.graphs import Graphs
from fast_vc_service.models.seedvc.networks import Networks
from fast_vc_service.models.seedvc.noise import noise_at
from fast_vc_service.models.seedvc.options import SeedVcOptions
from fast_vc_service.models.seedvc.sampler import Sampler, stacked
from fast_vc_service.models.seedvc.vocoding import harmonic_wave
from fast_vc_service.models.seedvc.voice import Prompt, make_voice, prompt_of
from fast_vc_service.models.silero.vad import load_vad

SEARCH = 320
"""Samples at 16 kHz of the SOLA search: 20 ms, one period of the lowest voices."""

_PITCH_HOP = 160
_SEMITONE = math.log(2.0) / 12.0


@dataclass(frozen=True)
class SeedVcMemory:
    """What one session keeps between windows.

    Attributes:
        prompt: Of the voice spoken in.
        pitch_shift: Semitones on top (presets with F0).
        seed: Chooses noise and harmonic phases.
        register: F0 of the source so far (presets with F0).
        cycles: Phase of the harmonic source's fundamental at ``heard``, in cycles (HiFT).
        heard: Absolute output sample that ``cycles`` belongs to; None before the first window.
    """

    prompt: Prompt = field(repr=False)
    pitch_shift: float
    seed: int
    register: Register = field(default_factory=Register)
    cycles: float = 0.0
    heard: int | None = None

    @property
    def source_f0_hz(self) -> float | None:
        """See :class:`fast_vc_service.engine.window.WindowMemory`."""
        return self.register.learned_f0_hz


class SeedVcModel:
    """A window model (see ``engine/window.py``) of one preset.

    Args:
        networks: In eval mode.
        options: How they are driven.
        family: Name of the family; voices of one are not those of another.
        device: Where they are to run; None leaves them where they are.
    """

    def __init__(
        self,
        networks: Networks,
        options: SeedVcOptions,
        family: str,
        device: torch.device | None = None,
    ) -> None:
        self.family = family
        self.options = options
        self.sample_rate_out = networks.preset.mel.sample_rate
        self._hop = networks.preset.mel.hop
        # What depends on the flow time alone is computed in full precision, once.
        exact = networks.dit
        if options.precision != "float32":
            # Before they are moved: on the device there is never more than what runs there.
            networks = networks.narrowed(getattr(torch, options.precision))
        if device is not None:
            networks = networks.to(device)
        self.networks = networks
        sampler = Sampler(
            networks.dit,
            options.steps,
            options.guidance,
            times=exact,
            prompt_every=options.prompt_every,
            compiled=options.compile,
        )
        vocoder = networks.vocoder
        self._margin = (
            hift.RECEPTIVE if isinstance(vocoder, hift.HiFT) else vocoder.config.receptive
        )
        spoken: Callable[..., Tensor] = vocoder
        if isinstance(vocoder, hift.HiFT):
            spoken = vocoder.spectrum
        elif options.compile:
            spoken = torch.compile(vocoder)
        self.graphs = Graphs()
        ready = self.graphs.of if options.cuda_graphs else _as_it_is
        self._sample = ready(sampler.sampled, "the sampler")
        self._spoken = ready(spoken, "the vocoder")
        self._is_speech = ready(load_vad(networks.device), "the gate") if options.gate else None

    @property
    def overlap(self) -> int:
        """Samples at 16 kHz before the new ones that joining blocks needs too."""
        return _units(self.options.crossfade_ms) * BLOCK_QUANTUM + SEARCH

    def blend_voices(self, name: str, parts: Sequence[tuple[Voice, float]]) -> Voice:  # noqa: ARG002
        """Refuse: a voice of this family is a recording to go on from, and two have no mean.

        Raises:
            CannotBlendError: Always.
        """
        raise CannotBlendError("Seed-VC voices cannot be blended")

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:
        """Derive a voice from a clip of a second or more; see :func:`voice.make_voice`."""
        return make_voice(
            self.networks,
            self.family,
            name,
            audio,
            sample_rate,
            prompt_s=self.options.prompt_s,
        )

    def new_memory(
        self, voice: Voice, pitch_shift: float, seed: int, source_f0_hz: float | None = None
    ) -> SeedVcMemory:
        """Make the memory of a new session; ``pitch_shift`` in semitones."""
        register = Register.known(source_f0_hz)
        return SeedVcMemory(prompt_of(self.networks, voice), pitch_shift, seed, register)

    def retarget(self, memory: SeedVcMemory, voice: Voice, pitch_shift: float) -> SeedVcMemory:
        """Return ``memory`` with another voice; the blocks' cross-fade hides the change."""
        return replace(memory, prompt=prompt_of(self.networks, voice), pitch_shift=pitch_shift)

    @torch.inference_mode()
    def convert(
        self,
        windows: FloatArray,
        new_samples: int,
        right_samples: int,
        memories: Sequence[SeedVcMemory],
        positions: Sequence[int],
    ) -> tuple[FloatArray, list[SeedVcMemory]]:
        """Convert one window for each of B sessions in one batch.

        Args:
            windows: ``[B, W]`` at 16 kHz, W a multiple of 320.
            new_samples: How many of the newest samples no earlier window held.
            right_samples: How many of the newest samples are look-ahead only.
            memories: B memories.
            positions: Absolute index of each window's first sample, multiples of 320.

        Returns:
            ``[B, W * sample_rate_out / 16000]``, filled from :attr:`overlap` before what is new on
            (older samples are zeros), and B new memories.
        """
        seen = self._seen(windows.shape[1])
        frames = int(seen * self.sample_rate_out / (SAMPLE_RATE_IN * self._hop))
        ends = [self._out(position + windows.shape[1]) for position in positions]
        audio = to_device(torch.from_numpy(windows), self.networks.device)

        f0_hz = None
        if self.networks.pitch is not None:
            f0_hz = self.networks.pitch.f0(audio[:, -seen:])
            # What is new is spoken with what it says of the register itself.
            new = slice(
                (seen - right_samples - new_samples) // _PITCH_HOP,
                (seen - right_samples) // _PITCH_HOP,
            )
            [found] = to_host(f0_hz[:, new])
            memories = [
                replace(memory, register=track(memory.register, own, _PITCH_HOP / SAMPLE_RATE_IN))
                for memory, own in zip(memories, found.numpy(), strict=True)
            ]
        mel = self._mel(audio, seen, frames, memories=memories, ends=ends, f0_hz=f0_hz)

        kept = self._out(new_samples + right_samples + self.overlap) + 1
        tail, kept_frames = self._tail(kept, frames)
        joins = [end - self._out(right_samples + self.overlap - SEARCH // 2) for end in ends]
        between_pieces()
        wave, at_join = self._vocoded(mel[:, :, -tail:], kept_frames, memories, ends, joins)
        copied = to_host(wave[:, -min(kept, wave.shape[1]) :], at_join)
        heard, cycles = copied[0].numpy(), copied[1].tolist()

        out = np.zeros((len(windows), self._out(windows.shape[1])), np.float32)
        out[:, out.shape[1] - heard.shape[1] :] = heard
        if self.options.loudness_mix:
            for row, window in enumerate(windows):
                out[row] = self._mixed(out[row], window, heard.shape[1])
        if self.options.gate:
            self._shut(out, audio, positions)
        return out, [
            replace(memory, cycles=cycles[row], heard=joins[row])
            for row, memory in enumerate(memories)
        ]

    def _mel(
        self,
        audio: Tensor,
        seen: int,
        frames: int,
        *,
        memories: Sequence[SeedVcMemory],
        ends: Sequence[int],
        f0_hz: Tensor | None,
    ) -> Tensor:
        """Mel ``[B, mels, frames]`` of the newest ``seen`` samples of ``audio``."""
        networks, device = self.networks, audio.device
        prompts = [memory.prompt for memory in memories]
        first = [(end - frames * self._hop + self._hop // 2) // self._hop for end in ends]
        noise = np.stack(
            [
                noise_at(memory.seed, start, frames, networks.preset.mel.bins)
                for memory, start in zip(memories, first, strict=True)
            ]
        )
        target_f0 = None
        if f0_hz is not None:
            moves = torch.tensor([self._move(memory) for memory in memories])
            target_f0 = shifted(f0_hz, log_offset=to_device(moves[:, None], device))
        content = networks.content(audio)
        unheard = (audio.shape[1] - seen) // BLOCK_QUANTUM
        lengths = torch.full((len(memories),), frames)
        mu = networks.regulator(content[:, unheard:], lengths, target_f0)
        none = torch.zeros(len(memories), networks.preset.mel.bins, frames, device=device)
        style = torch.cat([prompt.style for prompt in prompts])
        source = networks.dit.condition(none, mu, style)
        prompt = stacked([prompt.conditioning for prompt in prompts])
        condition = Conditioning(torch.cat([prompt.frames, source.frames], dim=1), prompt.style)
        between_pieces()
        placed = to_device(torch.from_numpy(noise), device)
        return self._sample(placed, condition.frames, condition.style)

    def _tail(self, kept_samples: int, frames: int) -> tuple[int, int]:
        """How many of the newest mel frames the vocoder gets, and how many it has to return."""
        kept = min(frames, -(-kept_samples // self._hop))
        return min(frames, kept + self._margin), kept

    def _vocoded(
        self,
        mel: Tensor,
        kept: int,
        memories: Sequence[SeedVcMemory],
        ends: Sequence[int],
        joins: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """Wave ``[B, at least kept frames]``, and the source's phase at each join, in cycles."""
        vocoder = self.networks.vocoder
        if not isinstance(vocoder, hift.HiFT):
            return self._spoken(mel, kept), mel.new_zeros(len(memories))
        return harmonic_wave(
            vocoder,
            mel,
            spectrum=self._spoken,
            seeds=[memory.seed for memory in memories],
            carried=[(memory.cycles, memory.heard) for memory in memories],
            ends=ends,
            joins=joins,
        )

    def _seen(self, window: int) -> int:
        """Samples of a window that the transformer sees."""
        unseen = _units(self.options.context_ms) - _units(self.options.dit_context_ms)
        return window - unseen * BLOCK_QUANTUM

    def _move(self, memory: SeedVcMemory) -> float:
        """Natural-log distance by which the source's F0 is moved."""
        move = memory.pitch_shift * _SEMITONE
        if self.options.register_match and memory.prompt.log_f0 is not None:
            move += memory.prompt.log_f0 - memory.register.median_log_f0
        return move

    def _shut(self, out: FloatArray, audio: Tensor, positions: Sequence[int]) -> None:
        """Silence ``out`` where nobody speaks in the windows."""
        assert self._is_speech is not None  # noqa: S101 - for the type checker
        opened = gains(self._is_speech, audio, positions, hangover_ms=self.options.hangover_ms)
        places = np.arange(out.shape[1]) * (SAMPLE_RATE_IN / self.sample_rate_out)
        for row, gain in enumerate(opened):
            out[row] *= np.interp(places, np.arange(len(gain)), gain).astype(np.float32)

    def _mixed(self, out: FloatArray, window: FloatArray, kept: int) -> FloatArray:
        """Give the newest ``kept`` samples the loudness contour of the window."""
        mixed = mix_rms(
            out, self.sample_rate_out, window, SAMPLE_RATE_IN, self.options.loudness_mix
        )
        mixed[: len(mixed) - kept] = 0.0
        return np.clip(mixed, -1.0, 1.0)

    def _out(self, samples: int) -> int:
        return samples * self.sample_rate_out // SAMPLE_RATE_IN


def _as_it_is(function: Callable[..., Tensor], _name: str) -> Callable[..., Tensor]:
    return function


def _units(milliseconds: int) -> int:
    return milliseconds * SAMPLE_RATE_IN // (1000 * BLOCK_QUANTUM)
