"""What is wrong with a reference clip that can still be used."""

from __future__ import annotations

import numpy as np
import torch

from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray
from fast_vc_service.models.campplus import CampPlus

ENOUGH_S = 3.0
CLIPPED, CLIPPED_SHARE = 0.999, 1e-4
NOISY_DB = 15.0

WINDOW_S, HOP_S = 3.0, 1.5
QUIET_DB = 6.0
"""Windows so far below the whole clip hold too little speech to tell who speaks."""

ONE_SPEAKER = 0.4
"""Lowest similarity of two windows of one speaker.

Measured on the people of the evaluation: one speaker 0.48 to 0.86 (16 clips of real speech), two
speakers at most 0.34 in 95 % of the pairs.
"""


def doubts(
    audio: FloatArray, sample_rate: int, speech: FloatArray, above_db: float, campplus: CampPlus
) -> list[str]:
    """Sentences, none where all is well.

    Args:
        audio: The clip ``[samples]`` as it came.
        sample_rate: Its Hz.
        speech: The part of it that is used, at 16 kHz.
        above_db: How far speech lies above the background.
        campplus: Tells speakers apart.
    """
    found = []
    seconds = len(audio) / sample_rate
    if seconds < ENOUGH_S:
        found.append(f"the clip has {seconds:.1f} s; 3 to 30 s make a better voice")
    clipped = float(np.mean(np.abs(audio) >= CLIPPED))
    if clipped > CLIPPED_SHARE:
        found.append(f"{100 * clipped:.2f} % of the samples are clipped; record it with less gain")
    if above_db < NOISY_DB:
        found.append(f"the clip is noisy: speech is only {above_db:.0f} dB above its background")
    if least_alike(speech, campplus) < ONE_SPEAKER:
        found.append("the clip seems to hold more than one speaker; their voices get mixed")
    return found


def least_alike(speech: FloatArray, campplus: CampPlus) -> float:
    """The lowest cosine between embeddings of two windows; 1 where there are no two.

    Args:
        speech: ``[samples]`` at 16 kHz.
        campplus: Embeds the windows.
    """
    window, hop = (round(each * SAMPLE_RATE_IN) for each in (WINDOW_S, HOP_S))
    loud = np.mean(np.square(speech)) * 10 ** (-QUIET_DB / 10)
    windows = [
        speech[start : start + window]
        for start in range(0, len(speech) - window + 1, hop)
        if np.mean(np.square(speech[start : start + window])) > loud
    ]
    if len(windows) < 2:
        return 1.0
    with torch.no_grad():
        rows = torch.stack([campplus.embed(torch.from_numpy(each)).flatten() for each in windows])
    unit = torch.nn.functional.normalize(rows, dim=-1)
    return float((unit @ unit.T).min())
