"""The ``world`` converter: WORLD analysis, a mapping between speakers, synthesis; no weights.

It sees windows (``engine/window.py`` makes a stream of them). What it remembers between windows is
small: the source's running register and long-term spectrum, the mapping in use, and the phase of
the pulses, so that overlapping windows agree sample by sample and SOLA has nothing to move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from fast_vc_service.audio.bandwidth import is_thin
from fast_vc_service.audio.register import Register, track
from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray, Voice
from fast_vc_service.models.world import mapping, synthesis
from fast_vc_service.models.world.analysis import HOP, DoubleArray, Frames, analyse
from fast_vc_service.models.world.mapping import Mapping
from fast_vc_service.models.world.timbre import SpeakerSpectrum, band_spectra
from fast_vc_service.models.world.voice import FAMILY, Target, blend_voices, make_voice

KEPT_BEFORE = 960
"""Samples at 16 kHz before the new ones that are converted too, for cross-fades: 60 ms."""

_RING = 800  # a response of 50 ms has run up before the first sample that is kept
_GLIDE = 640  # 40 ms from one mapping to the next
_KNEE = 0.8
_HEARD = 1e-5  # peak power (-50 dBFS) of a window that says what it came through
_LATEST_SHARE = 0.15


@dataclass(frozen=True)
class WorldMemory:
    """What one session keeps between windows.

    Attributes:
        target: The voice spoken in.
        pitch_shift: Semitones on top of the target's register.
        seed: Chooses the noise.
        register: F0 of the source so far.
        spectrum: Long-term spectrum of the source so far.
        mapping: In use at the end of the last window; None before the first.
        narrow: Share of the latest windows that lacked the fundamental; None before the first.
        heard: Absolute index of the sample after the last converted one.
        phase: Of the pulses at ``heard``, in cycles.
    """

    target: Target
    pitch_shift: float
    seed: int
    register: Register = field(default_factory=Register)
    spectrum: SpeakerSpectrum = field(default_factory=SpeakerSpectrum)
    mapping: Mapping | None = None
    narrow: float | None = None
    heard: int = 0
    phase: float = 0.0

    @property
    def source_f0_hz(self) -> float | None:
        """See :class:`fast_vc_service.engine.window.WindowMemory`."""
        return self.register.learned_f0_hz


class WorldModel:
    """A window model (see ``engine/window.py``) of the ``world`` family; holds nothing."""

    family = FAMILY
    sample_rate_out = SAMPLE_RATE_IN

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:
        """Derive a voice from a clip ``[samples]`` of 1 to 30 s; see :func:`voice.make_voice`."""
        return make_voice(name, audio, sample_rate)

    def blend_voices(self, name: str, parts: Sequence[tuple[Voice, float]]) -> Voice:
        """Make the voice between others; see :func:`voice.blend_voices`."""
        return blend_voices(name, parts)

    def new_memory(
        self, voice: Voice, pitch_shift: float, seed: int, source_f0_hz: float | None = None
    ) -> WorldMemory:
        """Make the memory of a new session; ``pitch_shift`` in semitones."""
        return WorldMemory(Target.of(voice), pitch_shift, seed, Register.known(source_f0_hz))

    def retarget(self, memory: WorldMemory, voice: Voice, pitch_shift: float) -> WorldMemory:
        """Return ``memory`` with another voice; the next window glides to it within 40 ms."""
        return replace(memory, target=Target.of(voice), pitch_shift=pitch_shift)

    def convert(
        self,
        windows: FloatArray,
        new_samples: int,
        right_samples: int,
        memories: Sequence[WorldMemory],
        positions: Sequence[int],
    ) -> tuple[FloatArray, list[WorldMemory]]:
        """Convert one window for each of B sessions, each as if alone.

        Args:
            windows: ``[B, W]`` at 16 kHz, W a multiple of 80 (5 ms).
            new_samples: How many samples before the look-ahead no earlier window converted.
            right_samples: How many of the newest samples are look-ahead only.
            memories: B memories.
            positions: Absolute index of each window's first sample; may be negative.

        Returns:
            ``[B, W]`` and B new memories. The output is filled from ``new_samples`` +
            :data:`KEPT_BEFORE` before the look-ahead on; older samples are zeros.

        Raises:
            ValueError: W is no multiple of 80, or shorter than its parts.
        """
        length = windows.shape[1]
        if length % HOP or length < new_samples + right_samples:
            raise ValueError(
                f"expected windows of a multiple of {HOP} samples, at least {new_samples} new and "
                f"{right_samples} look-ahead, got {length}"
            )
        end = length - right_samples
        start = end - new_samples
        converted = [
            _convert(window, start, end, memory, position)
            for window, memory, position in zip(windows, memories, positions, strict=True)
        ]
        return np.stack([audio for audio, _ in converted]), [memory for _, memory in converted]


def _convert(
    window: FloatArray, start: int, end: int, memory: WorldMemory, position: int
) -> tuple[FloatArray, WorldMemory]:
    """Convert one window ``[W]`` whose samples ``start`` to ``end`` are the new ones."""
    kept = max(0, start - KEPT_BEFORE)
    first = max(0, kept - _RING) // HOP
    narrow = _narrow(window, memory.narrow)
    frames = analyse(window, first, lacks_fundamental=narrow is not None and narrow > 0.5)
    at = (first + np.arange(len(frames.f0_hz))) * HOP

    register, spectrum = _listen(frames, (at >= start) & (at < end), memory)
    after = mapping.derive(
        register.median_log_f0, register.spread, spectrum, memory.target, memory.pitch_shift
    )
    before = memory.mapping or after
    glide = np.clip((at - start) / _GLIDE, 0.0, 1.0)
    f0_hz = mapping.map_f0(frames.f0_hz, before, after, glide)
    log_power = mapping.map_envelope(frames, before, after, glide)

    origin = first * HOP
    count = len(window) - origin
    # A phase is only worth carrying on from where the last window ended.
    known = memory.phase if memory.heard == position + start else 0.0
    phase = synthesis.pulse_phase(f0_hz, count, start - origin, known)
    white = synthesis.noise(memory.seed, position + origin, count)
    pulses = synthesis.pulse_train(phase)
    audio = synthesis.synthesise(pulses, white, log_power, frames.aperiodicity)

    out = np.zeros(len(window), np.float32)
    out[kept:] = _limit(audio[kept - origin :])
    phase_at_end = phase[min(end - origin, count - 1)]
    return out, replace(
        memory,
        register=register,
        spectrum=spectrum,
        mapping=after,
        narrow=narrow,
        heard=position + end,
        phase=float(phase_at_end % 1.0),
    )


def _narrow(window: FloatArray, before: float | None) -> float | None:
    """Share of the latest windows ``[W]`` that came through something like a telephone."""
    if float(np.square(window).max()) < _HEARD:
        return before
    thin = float(is_thin(window))
    return thin if before is None else before + _LATEST_SHARE * (thin - before)


def _listen(
    frames: Frames, new: npt.NDArray[np.bool_], memory: WorldMemory
) -> tuple[Register, SpeakerSpectrum]:
    """Learn from the frames that no window before had."""
    register = track(memory.register, frames.f0_hz[new], HOP / SAMPLE_RATE_IN)
    voiced = new & (frames.f0_hz > 0.0)
    return register, memory.spectrum.heard(band_spectra(np.log(frames.envelope[voiced])))


def _limit(audio: DoubleArray) -> DoubleArray:
    """Bend peaks above 0.8 so that they stay below 1: minimum phase is peakier than speech."""
    over = np.maximum(np.abs(audio) - _KNEE, 0.0)
    room = 1.0 - _KNEE
    bent = np.minimum(np.abs(audio), _KNEE) + room * np.tanh(over / room)
    return np.copysign(bent, audio)
