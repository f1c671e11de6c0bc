"""Copy synthesis: the source analysed and spoken again by nano's vocoder, nothing converted.

What it loses no acoustic model can give back. On the command line of the evaluation:
``training.evaluation.copy_synthesis:system``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fast_vc_service.audio.resample import resample
from fast_vc_service.models.nano import envelope, excitation
from fast_vc_service.models.nano.load import WEIGHTS, load_vocoder
from fast_vc_service.models.nano.pitch import VOICED, pitch
from fast_vc_service.models.nano.spectrum import HOP_SAMPLES, SAMPLE_RATE_HZ
from training.evaluation.systems import System

FloatArray = NDArray[np.float32]


def system(_root: Path) -> System:
    """The vocoder that ships, behind the true envelope, F0 and voicing."""
    path = WEIGHTS / "vocoder.safetensors"
    vocoder = load_vocoder(path)

    def convert(source: FloatArray, _reference: FloatArray) -> FloatArray:
        frames = len(source) // HOP_SAMPLES
        f0, voicing = pitch(source)
        wide = resample(source, SAMPLE_RATE_HZ, envelope.SAMPLE_RATE_HZ)
        shape = envelope.envelope(wide[: frames * envelope.HOP_SAMPLES], f0)
        with torch.inference_mode():
            sound = vocoder(
                torch.from_numpy(shape)[None],
                torch.from_numpy(f0[:frames])[None],
                torch.from_numpy((voicing[:frames] == VOICED).astype(np.float32))[None],
                excitation.noise(0, 0, frames)[None],
            )[0].numpy()
        out = resample(sound, envelope.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)
        return np.pad(out, (0, max(0, len(source) - len(out))))[: len(source)].clip(-1, 1)

    fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return System("copy-synthesis", convert, fingerprint, uses_reference=False)
