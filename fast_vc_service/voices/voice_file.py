"""A made voice as a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from fast_vc_service import __version__
from fast_vc_service.contract import Voice
from fast_vc_service.voices.front_end import made_with


def save_voice(path: Path, voice: Voice) -> None:
    """Write a voice as one safetensors file; readers see the old file or the whole new one.

    Raises:
        OSError: The file cannot be written.
    """
    metadata = {
        "name": voice.name,
        "family": voice.family,
        "version": __version__,
        "made_with": made_with(voice.family),
    }
    tensors = {key: np.ascontiguousarray(value) for key, value in voice.features.items()}
    data = safetensors.numpy.save(tensors, metadata)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def load_voice(path: Path, wanted: str | None = None) -> Voice:
    """Read a voice that :func:`save_voice` wrote.

    Args:
        path: The file.
        wanted: What it must have been made with, see :func:`made_with`; None takes any.

    Raises:
        ValueError: Missing, damaged, or written by another version, whose features may differ.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            features = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} is no readable voice: {error}") from error
    if metadata.get("version") != __version__:
        raise ValueError(
            f"{path} was made by version {metadata.get('version')}, expected {__version__}"
        )
    if wanted is not None and metadata.get("made_with") != wanted:
        raise ValueError(f"{path} was made with other weights or another front end")
    return Voice(metadata.get("name", path.stem), metadata.get("family", ""), features)
