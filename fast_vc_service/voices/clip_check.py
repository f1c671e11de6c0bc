"""Whether a clip makes a good voice: how long, how loud, how clean, and whether one person speaks.

What makes it useless is a problem, and refuses it; what makes it worse is a warning.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from loguru import logger

from fast_vc_service.audio.high_pass import high_pass
from fast_vc_service.audio.loudness import dbfs
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray
from fast_vc_service.voices.excerpt import best_excerpt
from fast_vc_service.voices.listening import ONE_SPEAKER, is_speech, speaker_embeddings

SHORTEST_S, ENOUGH_S = 1.0, 5.0
LEAST_SPEECH_S = 1.0
ENOUGH_SPEECH_SHARE = 0.4
QUIETEST_DBFS, QUIET_DBFS = -55.0, -38.0
MOST_CLIPPED, CLIPPED = 0.02, 1e-4
NOISIEST_DB, NOISY_DB = 3.0, 15.0

_CLIPPED_LEVEL = 0.999
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
        warnings: Why it makes a worse voice than it could.
        used_s: What of it a voice is made of, seconds from and to; the rest above is of this.
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
    warnings: tuple[str, ...] = ()
    used_s: tuple[tuple[float, float], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what the API and the records of voices show; ``doubts`` are the warnings."""
        members = asdict(self)
        members["problems"] = list(members["problems"])
        members["doubts"] = list(members.pop("warnings"))
        members["used_s"] = [list(span) for span in self.used_s]
        return members

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> ClipCheck:
        """Read what :meth:`as_json` returned.

        Raises:
            KeyError, TypeError: It is something else.
        """
        rest = {name: value for name, value in members.items() if name != "doubts"}
        rest["problems"] = tuple(members["problems"])
        rest["used_s"] = tuple((span[0], span[1]) for span in members.get("used_s", ()))
        return cls(**rest, warnings=tuple(members["doubts"]))


def check_clip(audio: FloatArray, sample_rate: int) -> ClipCheck:
    """Look at a clip ``[n]`` of any length at ``sample_rate`` Hz; takes a second or so."""
    duration_s = len(audio) / sample_rate
    excerpt = best_excerpt(audio, sample_rate)
    heard = excerpt.audio
    speech_16k = resample(high_pass(heard, sample_rate), sample_rate, SAMPLE_RATE_IN)
    spoken = is_speech(speech_16k)
    speech, rest = speech_16k[spoken], speech_16k[~spoken]
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
        used_s=tuple((round(first, 2), round(last, 2)) for first, last in excerpt.spans_s),
    )
    problems, warnings = _judge(measured)
    return ClipCheck(**{**vars(measured), "problems": problems, "warnings": warnings})


def log_clip_warnings(name: str, check: ClipCheck) -> None:
    """Log what makes the voice ``name`` worse than a clip of another kind would."""
    for reason in (*check.problems, *check.warnings):
        logger.warning("voice {}: {}", name, reason)


def _judge(clip: ClipCheck) -> tuple[tuple[str, ...], tuple[str, ...]]:
    problems: list[str] = []
    warnings: list[str] = []

    def demand(value: float, least: float, good: float, told: str) -> None:
        if value < least:
            problems.append(told)
        elif value < good:
            warnings.append(told)

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
        warnings.append("more than one person seems to speak; use a clip of one speaker")
    return tuple(problems), tuple(warnings)


def _above_noise_db(speech: FloatArray, rest: FloatArray) -> float:
    return dbfs(speech) - dbfs(rest)


def _least_alike(speech: FloatArray) -> float | None:
    """Return the cosine of the two windows of ``speech`` that are least alike."""
    starts = range(0, len(speech) - _WINDOW + 1, _HOP)
    if len(starts) < 2:
        return None
    vectors = speaker_embeddings([speech[start : start + _WINDOW] for start in starts])
    return round(min(float(a @ b) for a, b in itertools.combinations(vectors, 2)), 3)
