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

from fast_vc_service.audio.finite import all_finite
from fast_vc_service.audio.high_pass import DoubleArray, HighPass
from fast_vc_service.audio.pcm import limit
from fast_vc_service.audio.register import Register, track
from fast_vc_service.contract import BLOCK_QUANTUM, SAMPLE_RATE_IN, FloatArray, State, Voice
from fast_vc_service.models.host_copies import to_device, to_host
from fast_vc_service.models.nano import (
    envelope,
    excitation,
    level,
    source_envelope,
    spectrum,
    vocoder,
)
from fast_vc_service.models.nano.acoustic import (
    STEP_FRAMES,
    AcousticState,
    source_features,
)
from fast_vc_service.models.nano.blend import blend_voices
from fast_vc_service.models.nano.content import ContentState
from fast_vc_service.models.nano.f0_tracker import F0TrackerState, f0_from_logits
from fast_vc_service.models.nano.graph import as_graph, as_it_is
from fast_vc_service.models.nano.level import LevelState
from fast_vc_service.models.nano.load import Networks
from fast_vc_service.models.nano.prepared_voices import PreparedVoice, PreparedVoices
from fast_vc_service.models.nano.row_pool import RowPool
from fast_vc_service.models.nano.source_envelope import SourceEnvelope
from fast_vc_service.models.nano.tree import chosen, finite_rows, total_norm
from fast_vc_service.models.nano.vocoder import VocoderState
from fast_vc_service.models.nano.voice import FAMILY, Target, make_voice

SOURCE_SHARE = 0.75
"""How much of the envelope below 7.6 kHz is the source's own, moved; see :mod:`source_envelope`."""

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
_VOICED = 0.5
_LEAST_VOICED_LOG = -8.8
"""Log energy (about -75 dBFS) below which nothing is voiced, nor says how loud somebody speaks."""

_DETAIL = STEP_FRAMES * envelope.BANDS


@dataclass(frozen=True)
class NetworkStates:
    """What the networks remember, a row a session.

    Attributes:
        samples: [B, history] of the log-mel.
        content: Of the content encoder.
        f0_tracker: Of the pitch tracker.
        energy: [B, 2 * content look-ahead], of frames whose content is still to come.
        acoustic: Of the acoustic model.
        vocoder: Of the vocoder.
        level: How loud the source and the output are.
        late: [B, pad], speech that waits for the declared delay.
    """

    samples: Tensor
    content: ContentState
    f0_tracker: F0TrackerState
    energy: Tensor
    acoustic: AcousticState
    vocoder: VocoderState
    level: LevelState
    late: Tensor


@dataclass(slots=True, weakref_slot=True)
class NanoState(State):
    """One session.

    Attributes:
        voice: The voice spoken in.
        row: Of what the networks remember.
        pitch_shift: Semitones on top of the register match.
        seed: Chooses the noise.
        register: F0 of the source so far.
        source_envelope: Spectral shape of the source so far.
        frame: Absolute 20 ms frames heard.
        below_speech: State of the high-pass; None at the start and after a skip.
        muted: Samples of output that still belong to no input since the start or a skip.
    """

    voice: PreparedVoice
    row: int
    pitch_shift: float
    seed: int
    muted: int
    register: Register = field(default_factory=Register)
    source_envelope: SourceEnvelope = field(default_factory=SourceEnvelope, repr=False)
    below_speech: DoubleArray | None = field(default=None, repr=False)
    frame: int = 0

    @property
    def target(self) -> Target:
        """The voice spoken in, unpacked."""
        return self.voice.target

    @property
    def source_f0_hz(self) -> float | None:
        """See the contract."""
        return self.register.learned_f0_hz

    @property
    def voice_row(self) -> int:
        """The row of what the acoustic model has prepared of the voice."""
        return self.voice.row


@dataclass(frozen=True)
class _Source:
    """A source after a block; see :class:`NanoState` and :func:`source_envelope.follow`."""

    register: Register
    source_envelope: SourceEnvelope
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

    def __init__(self, networks: Networks, block_ms: int = 80, steps: int | None = None) -> None:
        config = networks.acoustic.config
        if steps is None:
            steps = 1 if config.generator else EULER_STEPS
        if block_ms <= 0 or block_ms % 20:
            raise ValueError(f"block_ms must be a positive multiple of 20, got {block_ms}")
        self.block = block_ms * SAMPLE_RATE_IN // 1000
        self._networks = networks
        self._steps = steps
        # Networks that hear nothing but content were trained to need no envelope of the source.
        self._share = SOURCE_SHARE if config.hears_mel else 0.0
        self._device = networks.device
        ready = as_graph if networks.traced else as_it_is
        self._listen = ready(networks.content, networks.content.stream)
        self._hear_pitch = ready(networks.f0_tracker, networks.f0_tracker.stream)
        self._draw = ready(networks.acoustic, networks.acoustic.stream)
        self._speak = ready(networks.vocoder, networks.vocoder.stream)
        if networks.f0_tracker.delay_frames != STEP_FRAMES * networks.content.delay_frames:
            raise ValueError("pitch and content must come equally late")
        exact = networks.content.delay_frames * _QUANTUM_OUT + vocoder.DELAY_SAMPLES
        quanta = -(-exact // _QUANTUM_OUT)
        self.delay = quanta * BLOCK_QUANTUM
        self._delay_out = quanta * _QUANTUM_OUT
        self._pad = self._delay_out - exact
        if self._pad < _EDGE:
            raise ValueError("the declared delay leaves no 5 ms to fade out in")
        self._silent = self._new_network_states()
        self._network_states: RowPool[NetworkStates] = RowPool()
        self._high_pass = HighPass.at(SAMPLE_RATE_IN)
        self._voices = PreparedVoices(networks.acoustic, steps, self._device)

    @property
    def session_bytes(self) -> int:
        """Bytes of a session with a voice of its own; 0 before the first."""
        return self._network_states.row_bytes + self._voices.voice_bytes

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:
        """Derive a voice from a clip ``[samples]`` of 1 to 30 s; see :func:`voice.make_voice`."""
        return make_voice(name, audio, sample_rate, self._networks, self._steps)

    def blend_voices(self, name: str, parts: Sequence[tuple[Voice, float]]) -> Voice:
        """Make the voice between others; see :func:`blend.blend_voices`."""
        return blend_voices(name, parts)

    def prepare(self, voice: Voice) -> Voice:
        """Prepare a voice ahead of its first step; see the contract."""
        return self._voices.prepare(voice)

    def new_state(
        self,
        voice: Voice,
        pitch_shift: float = 0.0,
        seed: int = 0,
        source_f0_hz: float | None = None,
    ) -> NanoState:
        """Make the state of a new session; see the contract."""
        register = Register.known(source_f0_hz)
        prepared = self._voices.prepare(voice)
        row = self._network_states.open(self._silent)
        state = NanoState(prepared, row, pitch_shift, seed, self._delay_out, register)
        weakref.finalize(state, self._network_states.close, [row]).atexit = False
        return state

    def update(self, state: State, voice: Voice, pitch_shift: float) -> None:
        """Change voice and pitch shift (semitones) from the next step on."""
        own = _own(state)
        own.voice = self._voices.prepare(voice)
        own.pitch_shift = pitch_shift
        past = self._network_states.read([own.row])
        changed = replace(past, level=level.of_another_voice(past.level))
        self._network_states.write([own.row], changed)

    def skip(self, state: State) -> FloatArray:
        """Fade out what was still to come, forget the past; see the contract."""
        own = _own(state)
        silence = torch.zeros(self.block * _OUT // SAMPLE_RATE_IN)
        past = self._network_states.read([own.row])
        if not own.muted:
            silence[:_EDGE] = past.late[0, :_EDGE].cpu() * _RISE.flip(0)
        silent = replace(self._silent, level=level.interrupted(past.level))
        self._network_states.write([own.row], silent)
        own.source_envelope = replace(
            own.source_envelope, samples=np.zeros_like(own.source_envelope.samples)
        )
        own.below_speech = None
        own.muted = self._delay_out
        own.frame += self.block // BLOCK_QUANTUM
        return silence.numpy()

    @torch.inference_mode()
    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        """Convert ``[B, block]``; see the contract."""
        own = [_own(state) for state in states]
        if blocks.shape != (len(own), self.block):
            raise ValueError(f"expected blocks [{len(own)}, {self.block}], got {blocks.shape}")
        # Rows side by side are read and written at once.
        order = sorted(range(len(own)), key=lambda place: own[place].row)
        sound = self._stepped(blocks[order], [own[place] for place in order])
        out = np.empty_like(sound)
        out[order] = sound
        return out

    def _stepped(self, blocks: FloatArray, own: Sequence[NanoState]) -> FloatArray:
        filtered = [
            self._high_pass.step(limit(block), state.below_speech)
            for block, state in zip(blocks, own, strict=True)
        ]
        heard = np.stack([samples for samples, _ in filtered])
        rows = [state.row for state in own]
        past = self._network_states.read(rows)
        speaker = self._voices.read([state.voice for state in own])
        frames = self.block // BLOCK_QUANTUM

        samples = to_device(torch.from_numpy(heard), self._device)
        mel, history = spectrum.log_mel(samples, past.samples)
        content, content_state = self._listen(mel, past.content)
        pitch, voicing, f0_tracker_state = self._hear_pitch(samples, past.f0_tracker)
        energies = torch.cat([past.energy, spectrum.frame_energy(mel)], 1)
        energy = energies[:, : 2 * frames]
        f0 = f0_from_logits(pitch)
        voicing = torch.sigmoid(4 * voicing) * (energy > _LEAST_VOICED_LOG)
        voiced = voicing > _VOICED
        speech_level, level_state = level.follow(past.level, energy, voiced)
        late = STEP_FRAMES * self._networks.content.delay_frames
        known = to_host(f0, torch.softmax(pitch, -1).amax(-1), voicing, energy, speech_level[:, 0])
        learned = [
            _listen(
                state,
                late,
                samples=block,
                f0=pitches,
                certainty=sure,
                voicing=likely,
                energy=power,
                level=float(loud),
            )
            for state, block, pitches, sure, likely, power, loud in zip(
                own, heard, *(tensor.numpy() for tensor in known), strict=True
            )
        ]
        shift = [
            state.target.median_log_f0
            - source.register.median_log_f0
            + state.pitch_shift * math.log(2.0) / 12
            for state, source in zip(own, learned, strict=True)
        ]
        f0 = (f0 * torch.exp(self._column(shift))).clamp(40.0, 1000.0)

        config = self._networks.acoustic.config
        detail = (
            torch.zeros(len(own), frames, _DETAIL, device=self._device)
            if config.generator
            else self._stack([_detail_noise(state, frames) for state in own])
        )
        heard_mel = mel - speech_level[..., None] if config.hears_mel else None
        made, acoustic_state = self._draw(
            content.bottleneck,
            source_features(energy - speech_level, f0, voicing, heard_mel),
            detail,
            speaker,
            past.acoustic,
        )
        gate = _GATE_SLOPE * (energy - _GATE_LOG).clamp(max=0)
        correction = self._stack([state.target.correction for state in own])
        shape = self._stack(
            [
                torch.from_numpy(source_envelope.stretched(source.shape, higher / math.log(2.0)))
                for source, higher in zip(learned, shift, strict=True)
            ]
        )
        average = self._stack([state.target.average for state in own])
        shaped = made + correction
        shaped[..., : shape.shape[-1]].lerp_(shape + average, self._share)
        bands = shaped + (speech_level + gate)[..., None]
        hiss = self._stack(
            [excitation.noise(state.seed, 2 * state.frame, 2 * frames) for state in own]
        )
        speech, vocoder_state = self._speak(
            bands.clamp(min=math.log(envelope.FLOOR)), f0, voicing, hiss, past.vocoder
        )
        speech, level_state = level.match(level_state, samples, voiced, speech)
        line = torch.cat([past.late, speech], 1)
        out = _limit(line[:, : speech.shape[1]])
        new = NetworkStates(
            history,
            content_state,
            f0_tracker_state,
            energies[:, 2 * frames :],
            acoustic_state,
            vocoder_state,
            level_state,
            line[:, speech.shape[1] :],
        )
        return self._keep(own, out, new, learned, [after for _, after in filtered])

    def _keep(
        self,
        own: Sequence[NanoState],
        out: Tensor,
        new: NetworkStates,
        learned: Sequence[_Source],
        below_speech: Sequence[DoubleArray],
    ) -> FloatArray:
        """Write what a step has made to the states, but for the rows that are no numbers."""
        sound, size = to_host(out, total_norm((out, new)))
        good = [
            all_finite((source.source_envelope, source.register.median_log_f0, after))
            for source, after in zip(learned, below_speech, strict=True)
        ]
        if not math.isfinite(size):
            good = [all(both) for both in zip(good, finite_rows((out, new)), strict=True)]
        rows = [state.row for state in own]
        if all(good):
            self._network_states.write(rows, new)
        else:
            kept = [row for row, fine in enumerate(good) if fine]
            self._network_states.write([rows[row] for row in kept], chosen(new, kept))
        for row, (state, source) in enumerate(zip(own, learned, strict=True)):
            if not good[row]:
                sound[row] = math.nan
                continue
            _open(sound[row], state.muted)
            state.register, state.source_envelope = source.register, source.source_envelope
            state.below_speech = below_speech[row]
            state.muted = max(0, state.muted - sound.shape[1])
            state.frame += self.block // BLOCK_QUANTUM
        return sound.numpy()

    def _new_network_states(self) -> NetworkStates:
        networks, device = self._networks, self._device
        return NetworkStates(
            torch.zeros(1, spectrum.HISTORY_SAMPLES, device=device),
            networks.content.new_state(1, device),
            networks.f0_tracker.new_state(1, device),
            torch.full((1, 2 * networks.content.delay_frames), spectrum.SILENCE, device=device),
            networks.acoustic.new_state(1, self._steps, device),
            networks.vocoder.new_state(1, device),
            level.new_state(STEP_FRAMES * networks.content.delay_frames, device),
            torch.zeros(1, self._pad, device=device),
        )

    def _column(self, values: Sequence[float]) -> Tensor:
        return to_device(torch.tensor(values, dtype=torch.float32)[:, None], self._device)

    def _stack(self, rows: Sequence[Tensor]) -> Tensor:
        return to_device(torch.stack(list(rows)), self._device)


def _listen(
    state: NanoState,
    late: int,
    *,
    samples: FloatArray,
    f0: FloatArray,
    certainty: FloatArray,
    voicing: FloatArray,
    energy: FloatArray,
    level: float,
) -> _Source:
    """What is known of the source after a block and frames of 10 ms, ``late`` of them behind."""
    voiced_f0 = np.where(voicing > _VOICED, f0, 0.0)
    loud = energy > level - source_envelope.LOUD
    shape, heard = source_envelope.follow(
        state.source_envelope, samples, voiced_f0, loud, level=level, late=late
    )
    return _Source(track(state.register, voiced_f0, 0.01, certainty), heard, shape)


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
