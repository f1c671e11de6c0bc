"""The ``nano`` converter: content encoder, acoustic model and vocoder as one causal stream.

Every network keeps its own past, so no window is computed twice. What trails the input is fixed:
60 ms that the content encoder looks ahead and 15 ms of the vocoder, rounded up to whole 20 ms.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from fast_vc_service.audio.pitch import Register, track
from fast_vc_service.contract import BLOCK_QUANTUM, SAMPLE_RATE_IN, FloatArray, State, Voice
from fast_vc_service.models.nano import envelope, excitation, spectrum, tract, vocoder
from fast_vc_service.models.nano.acoustic import (
    STEP_FRAMES,
    AcousticState,
    Prepared,
    beside,
    euler_times,
)
from fast_vc_service.models.nano.blend import blend_voices
from fast_vc_service.models.nano.content import ContentState
from fast_vc_service.models.nano.graph import as_graph, as_it_is
from fast_vc_service.models.nano.level import Level, follow
from fast_vc_service.models.nano.load import Networks
from fast_vc_service.models.nano.melody import MelodyState, f0_from_logits
from fast_vc_service.models.nano.slots import Slots
from fast_vc_service.models.nano.tract import Tract
from fast_vc_service.models.nano.vocoder import VocoderState
from fast_vc_service.models.nano.voice import FAMILY, Target, make_voice

SOURCE_SHARE = 0.75
"""How much of the envelope below 7.6 kHz is the source's own, moved; see :mod:`tract`."""

EULER_STEPS = 2
"""Steps of the flow; 0 speaks with the mean envelope."""

_OUT = envelope.SAMPLE_RATE_HZ
_HOP = envelope.HOP_SAMPLES
_EDGE = _OUT // 200
_RISE = torch.arange(1, _EDGE + 1) / _EDGE
_QUANTUM_OUT = BLOCK_QUANTUM * _OUT // SAMPLE_RATE_IN
_UINT64 = 1 << 64
_DETAIL_STREAM = 1 << 63  # keeps the flow's noise apart from the vocoder's
_GATE_LOG = -8.2
"""Log energy of the input (about -70 dBFS) below which the output is closed."""

_GATE_SLOPE = 4.0
_MOST_GAIN = 1.4  # nepers, 12 dB
_DETAIL = STEP_FRAMES * envelope.BANDS


@dataclass(frozen=True)
class Past:
    """What the networks remember, a row a session.

    Attributes:
        samples: [B, history] of the log-mel.
        content: Of the content encoder.
        melody: Of the pitch tracker.
        energy: [B, 2 * content look-ahead], of frames whose content is still to come.
        acoustic: Of the acoustic model.
        vocoder: Of the vocoder.
        late: [B, pad], speech that waits for the declared delay.
    """

    samples: Tensor
    content: ContentState
    melody: MelodyState
    energy: Tensor
    acoustic: AcousticState
    vocoder: VocoderState
    late: Tensor


@dataclass(slots=True, weakref_slot=True)
class NanoState(State):
    """One session.

    Attributes:
        target: The voice spoken in.
        row: Of what the networks remember.
        voice_row: Of the target, prepared for the acoustic model.
        pitch_shift: Semitones on top of the register match.
        seed: Chooses the noise.
        register: F0 of the source so far.
        level: Loudness of the source so far.
        made: That of what was made of it, to be the target's.
        tract: Spectral shape of the source so far.
        frame: Absolute 20 ms frames heard.
        muted: Samples of output that still belong to no input since the start or a skip.
    """

    target: Target
    row: int
    voice_row: int
    pitch_shift: float
    seed: int
    muted: int
    made: Level
    register: Register = field(default_factory=Register)
    level: Level = field(default_factory=Level)
    tract: Tract = field(default_factory=Tract, repr=False)
    frame: int = 0


@dataclass(frozen=True)
class _Source:
    """A source after a block; see :class:`NanoState` and :func:`tract.follow`."""

    register: Register
    level: Level
    tract: Tract
    shape: FloatArray


class NanoConverter:
    """Weights and geometry; see the contract.

    Raises:
        ValueError: ``block_ms`` is not a positive multiple of 20, or the networks do not fit.
    """

    family = FAMILY
    sample_rate_in = SAMPLE_RATE_IN
    sample_rate_out = _OUT
    alignment_tolerance = 0

    def __init__(self, networks: Networks, block_ms: int = 80, steps: int = EULER_STEPS) -> None:
        if block_ms <= 0 or block_ms % 20:
            raise ValueError(f"block_ms must be a positive multiple of 20, got {block_ms}")
        self.block = block_ms * SAMPLE_RATE_IN // 1000
        self._networks = networks
        self._steps = steps
        self._device = networks.device
        ready = as_graph if networks.traced else as_it_is
        self._listen = ready(networks.content, networks.content.stream)
        self._hear_pitch = ready(networks.melody, networks.melody.stream)
        self._draw = ready(networks.acoustic, networks.acoustic.stream)
        self._speak = ready(networks.vocoder, networks.vocoder.stream)
        if networks.melody.delay_frames != STEP_FRAMES * networks.content.delay_frames:
            raise ValueError("pitch and content must come equally late")
        exact = networks.content.delay_frames * _QUANTUM_OUT + vocoder.DELAY_SAMPLES
        quanta = -(-exact // _QUANTUM_OUT)
        self.delay = quanta * BLOCK_QUANTUM
        self._delay_out = quanta * _QUANTUM_OUT
        self._pad = self._delay_out - exact
        if self._pad < _EDGE:
            raise ValueError("the declared delay leaves no 5 ms to fade out in")
        self._silent = self._new_past()
        self._pasts: Slots[Past] = Slots()
        self._speakers: Slots[Prepared] = Slots()

    @property
    def session_bytes(self) -> int:
        """Memory a session takes, in bytes; 0 before the first."""
        return self._pasts.row_bytes + self._speakers.row_bytes

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:
        """Derive a voice from a clip ``[samples]`` of 1 to 30 s; see :func:`voice.make_voice`."""
        return make_voice(name, audio, sample_rate, self._networks, self._steps)

    def blend_voices(self, name: str, parts: Sequence[tuple[Voice, float]]) -> Voice:
        """Make the voice between others; see :func:`blend.blend_voices`."""
        return blend_voices(name, parts)

    def new_state(self, voice: Voice, pitch_shift: float = 0.0, seed: int = 0) -> NanoState:
        """Make the state of a new session; ``pitch_shift`` in semitones."""
        target, speaker = self._prepare(voice)
        row, voice_row = self._pasts.open(self._silent), self._speakers.open(speaker)
        state = NanoState(
            target, row, voice_row, pitch_shift, seed, self._delay_out, Level(target.loudness)
        )
        weakref.finalize(state, self._pasts.close, [row]).atexit = False
        weakref.finalize(state, self._speakers.close, [voice_row]).atexit = False
        return state

    def update(self, state: State, voice: Voice, pitch_shift: float) -> None:
        """Change voice and pitch shift (semitones) from the next step on."""
        own = _own(state)
        own.target, speaker = self._prepare(voice)
        self._speakers.write([own.voice_row], speaker)
        own.pitch_shift, own.made = pitch_shift, Level(own.target.loudness)

    def skip(self, state: State) -> FloatArray:
        """Fade out what was still to come, forget the past; see the contract."""
        own = _own(state)
        silence = torch.zeros(self.block * _OUT // SAMPLE_RATE_IN)
        if not own.muted:
            late = self._pasts.read([own.row]).late
            silence[:_EDGE] = late[0, :_EDGE].cpu() * _RISE.flip(0)
        self._pasts.write([own.row], self._silent)
        own.tract = replace(own.tract, samples=np.zeros_like(own.tract.samples))
        own.muted = self._delay_out
        own.frame += self.block // BLOCK_QUANTUM
        return silence.numpy()

    @torch.inference_mode()
    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        """Convert ``[B, block]``; see the contract."""
        own = [_own(state) for state in states]
        if blocks.shape != (len(own), self.block):
            raise ValueError(f"expected blocks [{len(own)}, {self.block}], got {blocks.shape}")
        heard = np.clip(np.nan_to_num(blocks.astype(np.float32)), -1.0, 1.0)
        rows = [state.row for state in own]
        past = self._pasts.read(rows)
        speaker = self._speakers.read([state.voice_row for state in own])
        frames = self.block // BLOCK_QUANTUM

        samples = torch.from_numpy(heard).to(self._device)
        mel, history = spectrum.log_mel(samples, past.samples)
        content, content_state = self._listen(mel, past.content)
        pitch, voicing, melody_state = self._hear_pitch(samples, past.melody)
        energies = torch.cat([past.energy, spectrum.frame_energy(mel)], 1)
        energy = energies[:, : 2 * frames]
        f0 = f0_from_logits(pitch)
        voicing = torch.sigmoid(4 * voicing)
        late = STEP_FRAMES * self._networks.content.delay_frames
        learned = [
            _listen(state, late, samples=block, f0=pitches, voicing=voiced, energy=loud)
            for state, block, pitches, voiced, loud in zip(
                own,
                heard,
                f0.cpu().numpy(),
                voicing.cpu().numpy(),
                energy.cpu().numpy(),
                strict=True,
            )
        ]
        shift = [
            state.target.median_log_f0
            - source.register.median_log_f0
            + state.pitch_shift * math.log(2.0) / 12
            for state, source in zip(own, learned, strict=True)
        ]
        level = self._column([source.level.mean for source in learned])
        f0 = (f0 * torch.exp(self._column(shift))).clamp(40.0, 1000.0)

        detail = self._stack([_detail_noise(state, frames) for state in own])
        made, acoustic_state = self._draw(
            content.bottleneck,
            beside(energy - level, f0, voicing, mel - level[..., None]),
            detail,
            speaker,
            past.acoustic,
        )
        gate = _GATE_SLOPE * (energy - _GATE_LOG).clamp(max=0)
        correction = torch.stack([state.target.correction for state in own]).to(self._device)
        shape = self._stack(
            [
                torch.from_numpy(tract.stretched(source.shape, higher / math.log(2.0)))
                for source, higher in zip(learned, shift, strict=True)
            ]
        )
        average = self._stack([state.target.average for state in own])
        shaped = made + correction
        shaped[..., : shape.shape[-1]].lerp_(shape + average, SOURCE_SHARE)
        said = [
            _say(state, row_loudness, row_voicing)
            for state, row_loudness, row_voicing in zip(
                own,
                envelope.loudness(shaped[..., : envelope.BANDS_BELOW_7K6]).cpu().numpy(),
                voicing.cpu().numpy(),
                strict=True,
            )
        ]
        gain = self._stack([row for _, row in said])
        bands = shaped + (level + gain + gate)[..., None]
        hiss = self._stack(
            [excitation.noise(state.seed, 2 * state.frame, 2 * frames) for state in own]
        )
        speech, vocoder_state = self._speak(
            bands.clamp(min=math.log(envelope.FLOOR)), f0, voicing, hiss, past.vocoder
        )
        line = torch.cat([past.late, speech], 1)
        out = _limit(line[:, : speech.shape[1]])
        new = Past(
            history,
            content_state,
            melody_state,
            energies[:, 2 * frames :],
            acoustic_state,
            vocoder_state,
            line[:, speech.shape[1] :],
        )
        if not bool(torch.isfinite(out).all()):
            raise FloatingPointError("the networks made something that is no number")
        sound = out.cpu()
        self._pasts.write(rows, new)
        for row, (state, source) in enumerate(zip(own, learned, strict=True)):
            _open(sound[row], state.muted)
            state.register, state.level, state.tract = source.register, source.level, source.tract
            state.made = said[row][0]
            state.muted = max(0, state.muted - sound.shape[1])
            state.frame += frames
        return sound.numpy()

    def _prepare(self, voice: Voice) -> tuple[Target, Prepared]:
        target = Target.of(voice)
        with torch.inference_mode():
            times = euler_times(self._steps, 1, self._device)
            speaker = self._networks.acoustic.prepare(target.on(self._device), times)
        return target, speaker

    def _new_past(self) -> Past:
        networks, device = self._networks, self._device
        return Past(
            torch.zeros(1, spectrum.HISTORY_SAMPLES, device=device),
            networks.content.new_state(1, device),
            networks.melody.new_state(1, device),
            torch.full((1, 2 * networks.content.delay_frames), spectrum.SILENCE, device=device),
            networks.acoustic.new_state(1, self._steps, device),
            networks.vocoder.new_state(1, device),
            torch.zeros(1, self._pad, device=device),
        )

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)[:, None]

    def _stack(self, rows: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(rows)).to(self._device)


def _listen(
    state: NanoState,
    late: int,
    *,
    samples: FloatArray,
    f0: FloatArray,
    voicing: FloatArray,
    energy: FloatArray,
) -> _Source:
    """What is known of the source after a block and frames of 10 ms, ``late`` of them behind."""
    voiced = voicing > 0.5
    voiced_f0 = np.where(voiced, f0, 0.0)
    level = follow(state.level, energy, voiced)
    loud = energy > level.mean - tract.LOUD
    shape, heard = tract.follow(state.tract, samples, voiced_f0, loud, late)
    return _Source(track(state.register, voiced_f0, 0.01), level, heard, shape)


def _say(state: NanoState, loudness: FloatArray, voicing: FloatArray) -> tuple[Level, Tensor]:
    """Loudness of what is made after the next frames, and the gains [frames] that correct it."""
    made = follow(state.made, loudness, voicing > 0.5)
    first, last = (state.target.loudness - each.mean for each in (state.made, made))
    ramp = torch.linspace(first, last, len(loudness) + 1)[1:]
    return made, ramp.clamp(-_MOST_GAIN, _MOST_GAIN)


def _detail_noise(state: NanoState, frames: int) -> Tensor:
    """Standard normal [frames, 2 BANDS], a function of (seed, absolute frame)."""
    rows = [
        np.random.Generator(
            np.random.Philox(key=[state.seed % _UINT64, _DETAIL_STREAM + frame])
        ).standard_normal(_DETAIL, np.float32)
        for frame in range(state.frame, state.frame + frames)
    ]
    return torch.from_numpy(np.stack(rows))


def _open(sound: Tensor, muted: int) -> None:
    """Silence the first ``muted`` samples in place and fade in after them."""
    if muted <= 0:
        return
    sound[:muted] = 0.0
    part = sound[muted : muted + _EDGE]
    part *= _RISE[: len(part)]


def _limit(x: Tensor) -> Tensor:
    """Bend peaks above 0.8 so that they stay below 1."""
    over = (x.abs() - 0.8).clamp(min=0)
    return torch.copysign(x.abs().clamp(max=0.8) + 0.2 * torch.tanh(over / 0.2), x)


def _own(state: State) -> NanoState:
    if not isinstance(state, NanoState):
        raise TypeError(f"expected a NanoState, got {type(state).__name__}")
    return state
