"""Who speaks in a clip, and when: the networks that look at clips, loaded when first needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fast_vc_service.contract import FloatArray

if TYPE_CHECKING:
    from fast_vc_service.models.campplus import CampPlus

ONE_SPEAKER = 0.4
"""Least cosine of CAM++ embeddings of two windows of one speaker's speech.

Measured with windows of 3 s on the people of the evaluation: one speaker 0.48 to 0.86 (16 clips of
real speech), two speakers at most 0.34 in 95 % of the pairs.
"""

_SPEECH = 0.5


def is_speech(audio: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell for each sample ``[n]`` at 16 kHz whether it is speech (Silero VAD)."""
    import torch

    from fast_vc_service.models.silero.vad import CHUNK, load_vad

    found = np.zeros(len(audio), bool)
    whole = len(audio) // CHUNK * CHUNK
    if whole:
        with torch.no_grad():
            likely = load_vad(torch.device("cpu"))(torch.from_numpy(audio[:whole])[None])[0]
        found[:whole] = np.repeat(likely.numpy() > _SPEECH, CHUNK)
    return found


def speaker_embeddings(windows: Sequence[FloatArray]) -> npt.NDArray[np.float32]:
    """Return the embeddings ``[N, 192]`` (CAM++, length 1) of speech ``[n]`` each at 16 kHz."""
    import torch

    network = _speaker_network()
    vectors = np.stack([network.embed(torch.from_numpy(window)).numpy() for window in windows])
    scaled = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return np.asarray(scaled, np.float32)


@cache
def _speaker_network() -> CampPlus:
    from fast_vc_service.models.campplus import load_campplus
    from fast_vc_service.models.nano.load import WEIGHTS

    return load_campplus(WEIGHTS / "campplus.safetensors")
