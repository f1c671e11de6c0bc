"""Recordings of the kinds that phones and browsers make, written with PyAV, and what is in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RATE, SECONDS = 48_000, 2
TONE_HZ = 440.0
CODECS = {"m4a": "aac", "mp4": "aac", "aac": "aac", "webm": "libopus"}


def tone() -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * TONE_HZ * np.arange(SECONDS * RATE) / RATE)
    return np.asarray(wave, np.float32)


def recorded(path: Path, channels: int = 1) -> Path:
    """A tone in a file of the kind that its name ends in; stereo has it in the left channel."""
    import av

    with av.open(str(path), "w") as container:
        layout = "mono" if channels == 1 else "stereo"
        stream = container.add_stream(CODECS[path.suffix[1:]], rate=RATE, layout=layout)
        planes = np.zeros((channels, SECONDS * RATE), np.float32)
        planes[0] = tone()
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = RATE, 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        while (piece := fifo.read(960 if CODECS[path.suffix[1:]] == "libopus" else 1024)) or (
            piece := fifo.read(partial=True)
        ):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def likeness(audio: np.ndarray) -> float:
    """Cosine between ``audio`` and the nearest tone of the same frequency."""
    angle = 2 * np.pi * TONE_HZ * np.arange(len(audio)) / RATE
    parts = np.stack([np.sin(angle), np.cos(angle)]) / np.sqrt(len(audio) / 2)
    return float(np.linalg.norm(parts @ audio) / np.linalg.norm(audio))
