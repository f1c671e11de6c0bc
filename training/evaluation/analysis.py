"""What the listeners say of one piece of speech, kept so that it is said once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.evaluation import listeners
from training.evaluation.borders import border_ratio
from training.evaluation.clips import SAMPLE_RATE_HZ
from training.evaluation.level import active_level_dbfs
from training.evaluation.pitch import f0_track

FloatArray = NDArray[np.float32]

VERSION = 2
"""To be raised when the meaning of a stored number changes."""


@dataclass(frozen=True)
class Analysis:
    """Attributes are those of the modules they come from; embeddings have length 1.

    ``campplus`` is empty where its weights were not given.
    """

    resemblyzer: list[float]
    campplus: list[float]
    text: str
    sig: float
    bak: float
    ovrl: float
    f0_hz: list[float]
    level_dbfs: float
    border_click: float
    border_flux: float


class Listeners:
    """The networks, loaded when first needed.

    Args:
        whisper: folder or name, see :func:`training.evaluation.listeners.whisper`.
        campplus: weights; a missing file leaves CAM++ out.
    """

    def __init__(self, whisper: str, campplus: Path) -> None:
        self.whisper_model = whisper
        self._campplus_path = campplus
        self.has_campplus = campplus.is_file()

    @cached_property
    def _resemblyzer(self) -> listeners.Embed:
        return listeners.resemblyzer()

    @cached_property
    def _campplus(self) -> listeners.Embed:
        return listeners.campplus(self._campplus_path)

    @cached_property
    def _whisper(self) -> Callable[[FloatArray, str], str]:
        return listeners.whisper(self.whisper_model)

    @cached_property
    def _dnsmos(self) -> Callable[[FloatArray], tuple[float, float, float]]:
        return listeners.dnsmos()

    def fingerprint(self, speech: FloatArray, language: str, borders: list[int]) -> str:
        """Changes whenever :meth:`analyse` might say something else."""
        said = (VERSION, self.whisper_model, self.has_campplus, language, borders)
        return hashlib.sha256(repr(said).encode() + speech.tobytes()).hexdigest()[:16]

    def analyse(self, speech: FloatArray, language: str, borders: list[int]) -> Analysis:
        """Listen to speech ``[n]`` at 16 kHz whose blocks begin at the samples ``borders``."""
        sig, bak, ovrl = self._dnsmos(speech)
        ratio = border_ratio(speech, SAMPLE_RATE_HZ, borders)
        camp = self._campplus(speech) if self.has_campplus else np.zeros(0, np.float32)
        return Analysis(
            [round(float(value), 6) for value in self._resemblyzer(speech)],
            [round(float(value), 6) for value in camp],
            self._whisper(speech, language),
            sig,
            bak,
            ovrl,
            [round(float(value), 2) for value in f0_track(speech, SAMPLE_RATE_HZ)],
            active_level_dbfs(speech, SAMPLE_RATE_HZ),
            ratio.click,
            ratio.flux,
        )


def analysed(
    listening: Listeners, speech: FloatArray, language: str, borders: list[int], path: Path
) -> Analysis:
    """What is heard, kept beside ``path`` under its fingerprint: two versions do not disturb."""
    fingerprint = listening.fingerprint(speech, language, borders)
    kept = path.with_name(f"{path.stem}.{fingerprint}.json")
    if kept.is_file():
        return Analysis(**json.loads(kept.read_text("utf-8")))
    analysis = listening.analyse(speech, language, borders)
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".partial-{os.getpid()}")
    partial.write_text(json.dumps(asdict(analysis), ensure_ascii=False), "utf-8")
    partial.replace(kept)
    return analysis
