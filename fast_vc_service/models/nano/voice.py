"""A voice from a reference clip: speaker embedding, register, spectra, and frames to attend to."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fast_vc_service.audio.bandwidth import lacks_lows
from fast_vc_service.audio.high_pass import high_pass
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray, Voice
from fast_vc_service.models.nano import envelope, narrow_band, source_envelope
from fast_vc_service.models.nano.acoustic import (
    GLOBAL,
    MEMORY,
    STEP_FRAMES,
    Speaker,
    normalise,
    speaker_vector,
)
from fast_vc_service.models.nano.load import Networks
from fast_vc_service.models.nano.pitch import VOICED, pitch
from fast_vc_service.models.nano.self_conversion import Reference, measure_correction
from fast_vc_service.models.nano.spectrum import HOP_SAMPLES, frame_energy, log_mel

FAMILY = "nano"

SHORTEST_S, LONGEST_S = 1.0, 30.0
"""Seconds of a reference clip; of a longer one the beginning is used."""

LEAST_VOICED_S = 0.5

MEMORY_FRAMES = 400
"""Frames of the reference that are kept, 8 s; always as many, so that batches are alike."""

_FEATURES = (*("vector", "content", "envelope", "mask", "register", "correction", "average"),)
_FRAME = STEP_FRAMES * HOP_SAMPLES
_SILENCE = 1e-3  # -60 dBFS
_QUIET_BELOW_LEVEL = 4.0  # nepers; quieter frames are left out
_MOST_CORRECTED = 1.2  # nepers, about 10 dB


@dataclass(frozen=True)
class Target:
    """A ``nano`` voice, unpacked.

    Attributes:
        speaker: For the acoustic model, a batch of one.
        median_log_f0: Natural logarithm of Hz.
        correction: [1, BANDS] log amplitudes, what the acoustic model misses of the voice.
        average: [1, BANDS_BELOW_7K6] its long-term spectrum relative to its speech level.
    """

    speaker: Speaker
    median_log_f0: float
    correction: Tensor
    average: Tensor

    @classmethod
    def of(cls, voice: Voice) -> Target:
        """Unpack ``voice``.

        Raises:
            ValueError: The voice was made by another family or is damaged.
        """
        voice.check_family(FAMILY)
        try:
            vector, content, frames, mask, register, correction, average = (
                torch.from_numpy(np.asarray(voice.features[name], np.float32)) for name in _FEATURES
            )
        except KeyError as error:
            raise ValueError(f"voice {voice.name!r} has no {error}: make it anew") from error
        if vector.shape != (GLOBAL,) or frames.shape != (MEMORY_FRAMES, MEMORY):
            raise ValueError(f"voice {voice.name!r} is of another version: make it anew")
        speaker = Speaker(vector[None], content[None], frames[None], mask[None] > 0)
        return cls(speaker, float(register[0]), correction[None], average[None])

    def on(self, device: torch.device) -> Speaker:
        """The speaker on another device."""
        return Speaker(*(getattr(self.speaker, part.name).to(device) for part in fields(Speaker)))


def make_voice(
    name: str, audio: FloatArray, sample_rate: int, networks: Networks, steps: int
) -> Voice:
    """Derive a voice from ``audio`` ``[samples]``.

    Args:
        name: What it is chosen by.
        audio: The reference clip.
        sample_rate: Hz.
        networks: Those that will speak.
        steps: Euler steps with which they will.

    Raises:
        ValueError: Too short, silent, or with too little voiced speech.
    """
    clip = _analyse(name, audio, sample_rate, networks)
    memory, content = normalise(torch.from_numpy(clip.frames)).reshape(-1, MEMORY), clip.content
    memory, content = memory[: len(content)], content[: len(memory)]
    chosen = _choose(clip.energy.reshape(-1, STEP_FRAMES).mean(1)[: len(memory)], clip.level)
    count = len(chosen)
    kept = torch.zeros(MEMORY_FRAMES, MEMORY)
    said = torch.zeros(MEMORY_FRAMES, content.shape[1])
    mask = torch.arange(MEMORY_FRAMES) < count
    kept[:count], said[:count] = memory[chosen], content[chosen]
    everything = torch.ones(1, len(memory), dtype=torch.bool)
    embedding = networks.campplus.embed(torch.from_numpy(clip.speech))
    vector = speaker_vector(embedding[None], memory[None], everything)[0]
    speaker = Speaker(vector[None], said[None], kept[None], mask[None])
    reference = _as_source(clip, content, chosen, STEP_FRAMES * networks.reader.delay_frames)
    features = {
        "vector": vector,
        "content": said,
        "envelope": kept,
        "mask": mask,
        "register": torch.tensor([float(np.median(np.log(clip.f0[clip.voiced])))]),
        "correction": _correct(networks, steps, speaker, reference, clip.frames),
        "average": torch.from_numpy(
            source_envelope.average(
                clip.frames, clip.energy.numpy()[: len(clip.frames)], clip.level
            )
        ),
    }
    return Voice(
        name, FAMILY, {key: value.numpy().astype(np.float16) for key, value in features.items()}
    )


@dataclass(frozen=True)
class _Clip:
    """A reference clip of N frames of 20 ms, analysed.

    Attributes:
        speech: [samples] at 16 kHz, whole frames.
        f0: [2 N] Hz.
        voiced: [2 N], True where it is.
        mel: [2 N, MELS] log.
        content: [N, content] bottleneck frames.
        energy: [2 N] log.
        level: Mean energy of the voiced frames.
        frames: [2 N, BANDS_BELOW_7K6] envelope relative to ``level``, the bands filled that the
            clip lacks; may be a few shorter.
    """

    speech: FloatArray
    f0: FloatArray
    voiced: npt.NDArray[np.bool_]
    mel: Tensor
    content: Tensor
    energy: Tensor
    level: float
    frames: FloatArray


def _analyse(name: str, audio: FloatArray, sample_rate: int, networks: Networks) -> _Clip:
    """Analyse a clip; raises ValueError as :func:`make_voice` does."""
    used = high_pass(audio[: int(LONGEST_S * sample_rate)], sample_rate)
    speech = resample(used, sample_rate, SAMPLE_RATE_IN)
    seconds = len(audio) / sample_rate
    if seconds < SHORTEST_S:
        raise ValueError(
            f"the clip of voice {name!r} has {seconds:.1f} s, expected at least {SHORTEST_S:.0f}"
        )
    if np.sqrt(np.mean(np.square(speech, dtype=np.float64))) < _SILENCE:
        raise ValueError(f"the clip of voice {name!r} is silent")
    speech = speech[: len(speech) // _FRAME * _FRAME].astype(np.float32)
    if lacks_lows(speech):
        f0, voicing = narrow_band.tracked_pitch(speech, networks.f0_tracker, networks.device)
    else:
        f0, voicing = pitch(speech)
    voiced = voicing == VOICED
    if voiced.sum() * 0.01 < LEAST_VOICED_S:
        raise ValueError(
            f"the clip of voice {name!r} has {voiced.sum() * 0.01:.1f} s of voiced speech, "
            f"expected at least {LEAST_VOICED_S}"
        )
    encoder = networks.reader
    with torch.no_grad():
        mel, _ = log_mel(torch.from_numpy(speech)[None])
        padded = torch.nn.functional.pad(
            mel, (0, 0, 0, STEP_FRAMES * encoder.delay_frames), value=float(mel.min())
        )
        content = encoder(padded).bottleneck[0, : mel.shape[1] // STEP_FRAMES]
    energy = frame_energy(mel[0])
    level = float(energy[torch.from_numpy(voiced)].mean())
    wide = resample(speech, SAMPLE_RATE_IN, envelope.SAMPLE_RATE_HZ)
    frames = envelope.envelope(wide.astype(np.float32), f0)[:, : envelope.BANDS_BELOW_7K6] - level
    frames = frames[: len(frames) // STEP_FRAMES * STEP_FRAMES]
    empty = narrow_band.empty_bands(
        source_envelope.average(frames, energy.numpy()[: len(frames)], level)
    )
    frames = narrow_band.continued(frames, empty)
    return _Clip(speech, f0, voiced, mel[0], content, energy, level, frames)


def _as_source(clip: _Clip, content: Tensor, chosen: Tensor, ahead: int) -> Reference:
    """The clip as a source: as in a session, its mel is ``ahead`` frames of 10 ms early."""
    lowest = float(clip.mel.min())
    later = torch.nn.functional.pad(clip.mel[ahead:], (0, 0, 0, ahead), value=lowest)
    count = STEP_FRAMES * len(content)
    return Reference(
        content,
        clip.energy[:count] - clip.level,
        torch.from_numpy(clip.f0[:count]),
        torch.from_numpy(clip.voiced[:count].astype(np.float32)),
        later[:count] - clip.level,
        chosen,
    )


def _correct(
    networks: Networks, steps: int, speaker: Speaker, reference: Reference, true: FloatArray
) -> Tensor:
    """What the networks miss of a voice's long-term spectrum: log amplitudes [BANDS] to add.

    Where what they make of the reference differs from it on average, they will differ alike on
    other words. Bands that 16 kHz speech does not fill follow the last that it does.
    """
    device = networks.device
    made = measure_correction(
        networks.acoustic,
        steps,
        Speaker(*(getattr(speaker, part.name).to(device) for part in fields(Speaker))),
        Reference(*(getattr(reference, part.name).to(device) for part in fields(Reference))),
    )
    own = made[: len(true), : true.shape[1]].cpu().numpy()
    loud = true.mean(1) > true.mean(1).max() - _QUIET_BELOW_LEVEL
    missing = np.clip((true - own)[loud].mean(0), -_MOST_CORRECTED, _MOST_CORRECTED)
    smooth = np.convolve(np.pad(missing, 2, mode="edge"), np.ones(5) / 5, "valid")
    return torch.from_numpy(
        np.pad(smooth, (0, envelope.BANDS - len(smooth)), mode="edge").astype(np.float32)
    )


def _choose(energy: Tensor, level: float) -> Tensor:
    """Indices of at most MEMORY_FRAMES frames that are not silent, spread over the clip."""
    loud = torch.nonzero(energy > level - _QUIET_BELOW_LEVEL)[:, 0]
    if len(loud) <= MEMORY_FRAMES:
        return loud
    return loud[torch.linspace(0, len(loud) - 1, MEMORY_FRAMES).long()]
