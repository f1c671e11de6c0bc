"""Whether a clip makes a good voice: how long, how loud, how clean, and whether one person speaks.

What makes it useless is a problem, and refuses it; what makes it worse is a doubt, and is told.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fast_vc_service.audio.loudness import dbfs
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray

if TYPE_CHECKING:
    from fast_vc_service.models.campplus import CampPlus

SHORTEST_S, ENOUGH_S = 1.0, 5.0
HEARD_S = 30.0
"""Seconds of a clip that are looked at, and that a voice is made of: its beginning."""

LEAST_SPEECH_S = 1.0
ENOUGH_SPEECH_SHARE = 0.4
QUIETEST_DBFS, QUIET_DBFS = -55.0, -38.0
MOST_CLIPPED, CLIPPED = 0.02, 1e-4
NOISIEST_DB, NOISY_DB = 3.0, 15.0

ONE_SPEAKER = 0.4
"""Least cosine of CAM++ embeddings of two windows of one speaker's speech.

Measured with windows of 3 s on the people of the evaluation: one speaker 0.48 to 0.86 (16 clips of
real speech), two speakers at most 0.34 in 95 % of the pairs.
"""

_CLIPPED_LEVEL = 0.999
_SPEECH = 0.5
_WINDOW, _HOP = 3 * SAMPLE_RATE_IN, 3 * SAMPLE_RATE_IN // 2


@dataclass(frozen=True)
class ClipCheck:
    """What was found out about a clip.

    Attributes:
        duration_s: Its whole length.
        level_dbfs: RMS of its speech.
        peak_dbfs: Its loudest sample.
        clipped_share: Share of its samples (0 to 1) at full scale.
        speech_s: Seconds of it that are speech.
        speech_share: Share of it (0 to 1) that is speech.
        signal_to_noise_db: Speech above what is between it; None when there is nothing between.
        speaker_similarity: Of the two windows of its speech that are least alike, cosine; None
            with less than 4.5 s of speech.
        problems: Why it makes no voice; empty when it does.
        doubts: Why it makes a worse voice than it could.
    """

    duration_s: float
    level_dbfs: float
    peak_dbfs: float
    clipped_share: float
    speech_s: float
    speech_share: float
    signal_to_noise_db: float | None
    speaker_similarity: float | None
    problems: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def check_clip(audio: FloatArray, sample_rate: int) -> ClipCheck:
    """Look at a clip ``[n]`` of any length at ``sample_rate`` Hz; takes a second or so."""
    duration_s = len(audio) / sample_rate
    heard = audio[: int(HEARD_S * sample_rate)]
    speech_16k = resample(heard, sample_rate, SAMPLE_RATE_IN).astype(np.float32)
    is_speech = _speech(speech_16k)
    speech, rest = speech_16k[is_speech], speech_16k[~is_speech]
    speech_s = len(speech) / SAMPLE_RATE_IN
    measured = ClipCheck(
        duration_s=round(duration_s, 3),
        level_dbfs=round(dbfs(speech), 1),
        peak_dbfs=round(20 * float(np.log10(max(float(np.abs(heard).max(initial=0)), 1e-6))), 1),
        clipped_share=round(float(np.mean(np.abs(heard) >= _CLIPPED_LEVEL)), 6),
        speech_s=round(speech_s, 2),
        speech_share=round(speech_s / max(len(heard) / sample_rate, 1e-9), 3),
        signal_to_noise_db=round(_above_noise_db(speech, rest), 1) if len(rest) > 1600 else None,
        speaker_similarity=_least_alike(speech),
    )
    problems, doubts = _judge(measured)
    return ClipCheck(**{**vars(measured), "problems": problems, "doubts": doubts})


def _judge(clip: ClipCheck) -> tuple[tuple[str, ...], tuple[str, ...]]:
    problems: list[str] = []
    doubts: list[str] = []

    def demand(value: float, least: float, good: float, told: str) -> None:
        if value < least:
            problems.append(told)
        elif value < good:
            doubts.append(told)

    demand(
        clip.duration_s,
        SHORTEST_S,
        ENOUGH_S,
        f"it lasts {clip.duration_s:.1f} s; 5 to 30 s make a good voice",
    )
    if clip.duration_s >= SHORTEST_S:
        demand(
            clip.speech_s,
            LEAST_SPEECH_S,
            0.0,
            f"only {clip.speech_s:.1f} s of it are speech; record clear speech, without music",
        )
    if clip.speech_s >= LEAST_SPEECH_S:
        demand(
            clip.speech_share,
            0.0,
            ENOUGH_SPEECH_SHARE,
            f"only {100 * clip.speech_share:.0f} % of it is speech; cut the silence out",
        )
        demand(
            clip.level_dbfs,
            QUIETEST_DBFS,
            QUIET_DBFS,
            f"the speech is quiet ({clip.level_dbfs:.0f} dBFS); record it closer or louder",
        )
        if clip.signal_to_noise_db is not None:
            demand(
                clip.signal_to_noise_db,
                NOISIEST_DB,
                NOISY_DB,
                f"the speech is only {clip.signal_to_noise_db:.0f} dB above the noise; record it "
                "in a quieter room",
            )
    demand(
        -clip.clipped_share,
        -MOST_CLIPPED,
        -CLIPPED,
        f"{100 * clip.clipped_share:.2f} % of the samples are clipped; record it with less gain",
    )
    if clip.speaker_similarity is not None and clip.speaker_similarity < ONE_SPEAKER:
        doubts.append("more than one person seems to speak; use a clip of one speaker")
    return tuple(problems), tuple(doubts)


def _speech(audio: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell for each sample at 16 kHz whether it is speech (Silero VAD)."""
    import torch

    from fast_vc_service.models.silero.vad import CHUNK, load_vad

    found = np.zeros(len(audio), bool)
    whole = len(audio) // CHUNK * CHUNK
    if whole:
        with torch.no_grad(), _one_thread():
            likely = load_vad(torch.device("cpu"))(torch.from_numpy(audio[:whole])[None])[0]
        found[:whole] = np.repeat(likely.numpy() > _SPEECH, CHUNK)
    return found


def _above_noise_db(speech: FloatArray, rest: FloatArray) -> float:
    return dbfs(speech) - dbfs(rest)


def _least_alike(speech: FloatArray) -> float | None:
    """Return the cosine of the two windows of ``speech`` that are least alike."""
    import torch

    starts = range(0, len(speech) - _WINDOW + 1, _HOP)
    if len(starts) < 2:
        return None
    network = _speaker_network()
    with _one_thread():
        windows = (torch.from_numpy(speech[start : start + _WINDOW]) for start in starts)
        vectors = [network.embed(window).numpy() for window in windows]
    vectors = [vector / max(float(np.linalg.norm(vector)), 1e-9) for vector in vectors]
    return round(min(float(a @ b) for a, b in itertools.combinations(vectors, 2)), 3)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Leave the other cores to live sessions; on busy ones several threads would only wait."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@cache
def _speaker_network() -> CampPlus:
    from fast_vc_service.models.campplus import load_campplus
    from fast_vc_service.models.nano.load import WEIGHTS

    return load_campplus(WEIGHTS / "campplus.safetensors")
