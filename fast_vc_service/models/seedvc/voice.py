"""A Seed-VC voice: the prompt, through every network that need not see it twice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from torch import Tensor

from fast_vc_service.audio.loudness import dbfs
from fast_vc_service.audio.mel import log_mel
from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray, Voice
from fast_vc_service.models.seedvc.content import encoded
from fast_vc_service.models.seedvc.dit_layers import Conditioning
from fast_vc_service.models.seedvc.networks import Networks

MIN_SECONDS = 1.0
_SILENT_DBFS = -60.0


@dataclass(frozen=True)
class Prompt:
    """What a session needs of its voice.

    Attributes:
        frames: The prompt's part of the transformer's input ``[1, T_p, width]``.
        token: Style token ``[1, 1, width]``; None where style is part of the frames.
        style: Speaker embedding ``[1, 192]``.
        log_f0: Natural log of the median F0 in Hz; None if it is not known.
    """

    frames: Tensor
    token: Tensor | None
    style: Tensor
    log_f0: float | None

    @property
    def conditioning(self) -> Conditioning:
        """As the transformer takes it."""
        return Conditioning(self.frames, self.token)


@torch.no_grad()
def make_voice(
    networks: Networks,
    family: str,
    name: str,
    audio: FloatArray,
    sample_rate: int,
    *,
    prompt_s: float,
) -> Voice:
    """Derive a voice from the first ``prompt_s`` seconds of a clip; a shorter one is repeated.

    Args:
        networks: Of the preset.
        family: See :class:`Voice`.
        name: Of the voice.
        audio: ``[samples]``.
        sample_rate: Hz of ``audio``.
        prompt_s: Seconds of the prompt.

    Raises:
        ValueError: The clip is shorter than a second, or silent.
    """
    seconds = len(audio) / sample_rate
    if seconds < MIN_SECONDS:
        raise ValueError(f"expected a clip of at least {MIN_SECONDS:.0f} s, got {seconds:.2f} s")
    if dbfs(audio) < _SILENT_DBFS:
        raise ValueError("expected speech, got silence")
    mel_settings = networks.preset.mel
    model_rate = np.asarray(soxr.resample(audio, sample_rate, mel_settings.sample_rate))
    clip = np.resize(model_rate, round(prompt_s * mel_settings.sample_rate)).astype(np.float32)
    heard = np.asarray(soxr.resample(clip, mel_settings.sample_rate, SAMPLE_RATE_IN), np.float32)

    device = networks.device
    wave_16k = torch.from_numpy(heard)[None].to(device)
    mel = log_mel(torch.from_numpy(clip)[None].to(device), mel_settings)
    f0_hz = networks.pitch.f0(wave_16k) if networks.pitch is not None else None
    lengths = torch.tensor([mel.shape[2]])
    condition = networks.regulator(encoded(networks.content, wave_16k), lengths, f0_hz)
    features = {
        "mel": mel[0],
        "condition": condition[0],
        "style": networks.speaker.embed(wave_16k[0]),
    }
    if f0_hz is not None and bool((f0_hz > 0).any()):
        features["log_f0"] = torch.log(f0_hz[f0_hz > 0]).median()[None]
    return Voice(
        name, family, {key: value.float().cpu().numpy() for key, value in features.items()}
    )


@torch.no_grad()
def prompt_of(networks: Networks, voice: Voice) -> Prompt:
    """Project a voice for the transformer.

    Raises:
        ValueError: The features are not those of this preset.
    """
    try:
        mel, condition, style = (
            torch.from_numpy(np.asarray(voice.features[key], np.float32))[None].to(networks.device)
            for key in ("mel", "condition", "style")
        )
    except KeyError as error:
        raise ValueError(f"voice {voice.name!r} is not of this family: no {error}") from error
    projected = networks.dit.condition(mel, condition, style)
    log_f0 = voice.features.get("log_f0")
    known = log_f0 is not None and math.isfinite(float(log_f0[0]))
    return Prompt(
        projected.frames,
        projected.style,
        style,
        float(log_f0[0]) if log_f0 is not None and known else None,
    )
