"""A voice made in a worker is the voice made here, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fast_vc_service.contract import Voice
from fast_vc_service.engine.families import build_converter
from fast_vc_service.process.worker.pool import WorkerPool
from fast_vc_service.voices.making import MakerElsewhere, MakerHere, Recipe, VoiceMaker

CLIP = Path(__file__).parents[2] / "wavs/references/bass.wav"


def bits(voice: Voice | None) -> dict[str, tuple[object, ...]]:
    """What of a voice is written: the order of the metadata in its file is left to chance."""
    assert voice is not None
    return {
        name: (array.dtype, array.shape, np.ascontiguousarray(array).tobytes())
        for name, array in voice.features.items()
    } | {"": (voice.name, voice.family)}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["nano", "world"])
def test_both_ways_write_the_same_files(tmp_path: Path, engine: str) -> None:
    converter = build_converter(engine)
    pool = WorkerPool("voice")
    makers: list[VoiceMaker] = [
        MakerHere(converter),
        MakerElsewhere(pool, Recipe(engine, None, converter.family)),
    ]
    uploads, clips = [], []
    for number, maker in enumerate(makers):
        kept = tmp_path / f"{number}.flac"
        made = maker.of_upload("anna", CLIP, kept, max_s=60.0)
        uploads.append((made.check, bits(made.voice), kept.read_bytes()))
        clip = maker.of_clip("anna", CLIP, check=False)
        clips.append((clip.check, bits(clip.voice)))
    pool.close()
    assert uploads[0] == uploads[1]
    assert clips[0] == clips[1]
