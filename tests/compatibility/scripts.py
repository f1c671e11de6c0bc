"""What a recorded conversation consists of, and the audio that is said in it.

A script is a list of steps. A ``dict`` or :class:`Raw` is a text message, ``bytes`` a binary one;
:data:`HEAR` waits for the next text message of the server, so that what follows is said after it.
Each ends when the server closes.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fast_vc_service.audio.files import read_audio
from tests.compatibility.recordings import load
from tests.e2e.service import ROOT

HEAR: Literal["hear"] = "hear"


@dataclass(frozen=True)
class Raw:
    """A text message that need not be JSON."""

    text: str


@dataclass(frozen=True)
class Script:
    """A conversation.

    Attributes:
        steps: What the client does.
        opus_hz: Rate that binary answers are decoded at; None where they are PCM.
        path: Where the client connects.
        headers: Sent with the request.
        audio_is_certain: False where chance decides how much comes before an error.
    """

    steps: list[Any]
    opus_hz: int | None = None
    path: str = "/ws"
    headers: tuple[tuple[str, str], ...] = ()
    audio_is_certain: bool = True

    @property
    def first(self) -> dict[str, Any]:
        """The first message, if it is an object."""
        return self.steps[0] if self.steps and isinstance(self.steps[0], dict) else {}


def speech(seconds: float, rate: int, bits: int = 16, start_s: float = 1.0) -> bytes:
    """Return PCM of a clip of the project, taken as if it had been recorded at ``rate``."""
    clip, _ = read_audio(ROOT / "wavs" / "sources" / "male-fast-48k.wav")
    first = round(start_s * rate)
    piece = clip[first : first + round(seconds * rate)].astype(np.float64)
    whole = np.round(piece * (2 ** (bits - 1) - 1)).astype("<i4")
    return whole.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def packets() -> list[bytes]:
    """Return Opus packets of 20 ms: 0.6 s of speech, encoded once and kept."""
    return [base64.b64decode(packet) for packet in load("opus-packets")]
