"""Clips for tests of uploads: real speech from the repository, cut and written in memory."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from fast_vc_service.audio.files import read_audio
from fast_vc_service.contract import FloatArray

ROOT = Path(__file__).parents[2]


@cache
def speech(name: str = "references/alto", seconds: float = 6.0) -> tuple[FloatArray, int]:
    audio, rate = read_audio(ROOT / "wavs" / f"{name}.wav")
    return audio[: int(seconds * rate)], rate


def as_file(audio: Any, rate: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.asarray(audio), rate, format=kind, subtype=subtype)
    return file.getvalue()


@cache
def speech_file(name: str = "references/alto", seconds: float = 6.0, kind: str = "WAV") -> bytes:
    return as_file(*speech(name, seconds), kind)
