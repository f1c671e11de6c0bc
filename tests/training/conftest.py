from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from training import packing, units

WIDTH, LAYERS = 16, 2


def tone(f0: float, seconds: float, rate: int = 16_000) -> NDArray[np.float32]:
    time = np.arange(int(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 12))
    return (0.15 * wave).astype(np.float32)


def write_ctranslate2(path: Path, tensors: dict[str, NDArray[np.float16]]) -> None:
    """A ``model.bin`` as CTranslate2 writes it."""

    def word(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    parts = [struct.pack("<I", 6), word("WhisperSpec"), struct.pack("<II", 3, len(tensors))]
    for name, value in tensors.items():
        parts += [word(name), struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)]
        parts += [struct.pack("<BI", 4, value.nbytes), value.tobytes()]
    path.write_bytes(b"".join(parts))


def toy_teacher() -> dict[str, NDArray[np.float16]]:
    """Tensors of an encoder of two narrow layers."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float16]:
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float16)

    tensors = {"encoder/position_encodings/encodings": normal(1500, WIDTH)}
    for name, before in (("conv1", 80), ("conv2", WIDTH)):
        tensors |= {f"encoder/{name}/weight": normal(WIDTH, before, 3)}
        tensors |= {f"encoder/{name}/bias": normal(WIDTH)}
    for number in range(LAYERS):
        layer = f"encoder/layer_{number}"
        for part in ("self_attention", "ffn"):
            tensors[f"{layer}/{part}/layer_norm/gamma"] = np.ones(WIDTH, np.float16)
            tensors[f"{layer}/{part}/layer_norm/beta"] = normal(WIDTH)
        for part, out, before in (
            ("self_attention/linear_0", 3 * WIDTH, WIDTH),
            ("self_attention/linear_1", WIDTH, WIDTH),
            ("ffn/linear_0", 4 * WIDTH, WIDTH),
            ("ffn/linear_1", WIDTH, 4 * WIDTH),
        ):
            tensors[f"{layer}/{part}/weight"] = normal(out, before)
            tensors[f"{layer}/{part}/bias"] = normal(out)
    return tensors


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a toy teacher, its units, and a PNMI that was measured before."""
    tools = tmp_path / "tools/whisper-base"
    tools.mkdir(parents=True)
    write_ctranslate2(tools / "model.bin", toy_teacher())
    rng = np.random.default_rng(1)
    arrays = {
        "layer": np.asarray(LAYERS),
        "mean": rng.standard_normal(WIDTH),
        "projection": rng.standard_normal((WIDTH, 96)),
        "centroids": rng.standard_normal((12, 96)),
        "to_content": rng.standard_normal((97, 96)) / 10,
    }
    np.savez(tmp_path / "units.npz", **{k: np.float32(v) for k, v in arrays.items()})
    monkeypatch.setattr(units, "UNITS", tmp_path / "units.npz")
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher/pnmi.json").write_text('{"layer": 2, "pnmi": 0.7}')
    return tmp_path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five utterances of two speakers and seven recordings of three people, two clips a shard."""
    monkeypatch.setattr(packing, "SHARD_CLIPS", 2)
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
            entry |= {"language": "es", "speakers": speakers, "samples": samples}
            manifest.write(json.dumps(entry) + "\n")
        manifest.write('{"index": 5, "fi')  # still being written
    real = tmp_path / "real"
    real.mkdir()
    with (real / "manifest.jsonl").open("w") as manifest:
        for number, (speaker, split) in enumerate(
            [*[("a", "train")] * 2, *[("b", "valid")] * 2, *[("c", "valid")] * 2, ("d", "eval")]
        ):
            rate = 24_000 if speaker == "a" else 16_000
            speech = tone(140 + 30 * number, 1.5, rate)
            soundfile.write(real / f"{number}.flac", speech, rate)
            entry = {"file": f"{number}.flac", "split": split, "speaker": speaker}
            entry |= {"language": "it", "wide": speaker == "a", "use": "train", "text": ""}
            manifest.write(json.dumps(entry | {"samples": 24_000}) + "\n")
    return tmp_path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
