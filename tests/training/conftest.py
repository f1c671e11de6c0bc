from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from training import features


def tone(f0: float, seconds: float, rate: int = 16_000) -> NDArray[np.float32]:
    time = np.arange(int(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 12))
    return (0.15 * wave).astype(np.float32)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five utterances of two speakers, packed two clips a shard, and a recording."""
    monkeypatch.setattr(features, "SHARD_CLIPS", 2)
    (tmp_path / "kokoro").mkdir()
    (tmp_path / "kokoro/config.json").write_text(json.dumps({"vocab": {"a": 1, "s": 2}}))
    folder = tmp_path / "synthetic"
    folder.mkdir()
    speakers = [{"names": [name], "weights": [1.0], "gain": 1.0} for name in ("af", "bm")]
    with (folder / "manifest-0.jsonl").open("w") as manifest:
        for number, split in enumerate(["train", "train", "eval", "train", "train"]):
            samples = 48_000 + 600 * number
            speech = np.stack([tone(f0, samples / 24_000, 24_000) for f0 in (120, 220)], 1)
            speech[:6000] = 0
            soundfile.write(folder / f"{number}.flac", speech, 24_000)
            entry = {"index": number, "file": f"{number}.flac", "split": split}
            entry |= {"language": "es", "speakers": speakers}
            entry |= {"tokens": [0, 1, 2, 0], "durations": [20, 40, 10, 10 + number]}
            manifest.write(json.dumps(entry) + "\n")
        manifest.write('{"index": 5, "fi')  # still being written
    real = tmp_path / "real"
    real.mkdir()
    with (real / "manifest.jsonl").open("w") as manifest:
        for number, split in enumerate(["train", "valid", "eval"]):
            soundfile.write(real / f"{number}.flac", tone(180, 1.5), 16_000)
            entry = {"file": f"{number}.flac", "split": split, "speaker": "it-carlo"}
            manifest.write(json.dumps(entry) + "\n")
    return tmp_path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
