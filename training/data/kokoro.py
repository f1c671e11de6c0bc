"""Kokoro-82M cut in two: text to content features, and content features to speech.

The decoder half is deterministic and depends on the speaker only through the first half of the
style vector. The same content decoded with two styles is therefore sample-aligned parallel speech.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 24_000
CONTENT_HOP_SAMPLES = 600
"""Samples of speech per content frame (40 Hz); F0 and energy have two values per content frame."""

MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"

_CONTENT = "/encoder/MatMul_1_output_0"
_F0 = "/encoder/Reshape_output_0"
_ENERGY = "/encoder/Reshape_1_output_0"
_DURATIONS = "/encoder/Clip_output_0"

FloatArray = NDArray[np.float32]


class ModelFilesError(RuntimeError):
    """The speech generator's files are missing or are not the expected ones."""


@dataclass(frozen=True)
class Content:
    """What is said and how, without the speaker's timbre.

    Attributes:
        features: [1, 512, T] content features at 40 Hz.
        f0_hz: [1, 2T] at 80 Hz; values of 20 and below mean unvoiced.
        energy: [1, 2T] at 80 Hz.
        durations: [L] content frames per token; their sum is T.
    """

    features: FloatArray
    f0_hz: FloatArray
    energy: FloatArray
    durations: NDArray[np.int64]


def cut(model: Path, folder: Path) -> None:
    """Cut the published graph into ``encoder.onnx`` and ``decoder.onnx`` under ``folder``.

    Raises:
        ModelFilesError: ``model`` is not the expected file.
    """
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    if digest != MODEL_SHA256:
        raise ModelFilesError(f"{model}: expected sha256 {MODEL_SHA256}, got {digest}")
    import onnx
    from onnx.utils import Extractor

    extractor = Extractor(onnx.load(str(model)))
    seam = [_CONTENT, _F0, _ENERGY]
    folder.mkdir(parents=True, exist_ok=True)
    encoder = extractor.extract_model(["tokens", "style", "speed"], [*seam, _DURATIONS])
    onnx.save(encoder, str(folder / "encoder.onnx"))
    onnx.save(extractor.extract_model([*seam, "style"], ["audio"]), str(folder / "decoder.onnx"))


def _session(path: Path, threads: int) -> Any:
    if not path.is_file():
        raise ModelFilesError(f"{path} is missing: run `python -m training.data fetch` first")
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Kokoro:
    """The two halves, loaded on first use."""

    def __init__(self, folder: Path, threads: int = 1, device: str | None = None) -> None:
        """Open the files of ``folder``.

        Args:
            folder: where :func:`cut` has been.
            threads: for the halves that run on the CPU.
            device: where torch is to run the decoder half, in bfloat16; None: onnxruntime does.
        """
        self._folder = folder
        self._threads = threads
        self._device = device

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Phoneme letter to token number."""
        vocabulary: dict[str, int] = json.loads((self._folder / "config.json").read_text("utf-8"))[
            "vocab"
        ]
        return vocabulary

    @cached_property
    def _encoder(self) -> Any:
        return _session(self._folder / "encoder.onnx", self._threads)

    @cached_property
    def _decoder(self) -> Callable[[Mapping[str, FloatArray]], FloatArray]:
        path = self._folder / "decoder.onnx"
        if self._device is None:
            session = _session(path, self._threads)
            return lambda inputs: session.run(["audio"], inputs)[0]
        import torch

        from training.data.graph import TorchGraph

        torch.set_num_threads(self._threads)
        graph = TorchGraph.load(path, torch.device(self._device))

        def run(inputs: Mapping[str, FloatArray]) -> FloatArray:
            (audio,) = graph({name: torch.from_numpy(value) for name, value in inputs.items()})
            return audio.cpu().numpy()

        return run

    def encode(self, tokens: list[int], style: FloatArray, speed: float) -> Content:
        """Text to content.

        Args:
            tokens: phoneme numbers, with 0 at both ends.
            style: [256]; the second half shapes rhythm and melody.
            speed: 1 is normal, above is faster.
        """
        features, f0, energy, durations = self._encoder.run(
            [_CONTENT, _F0, _ENERGY, _DURATIONS],
            {
                "tokens": np.asarray([tokens], np.int64),
                "style": style[None].astype(np.float32),
                "speed": np.asarray([speed], np.float32),
            },
        )
        return Content(features, f0, energy, np.rint(durations).astype(np.int64).reshape(-1))

    def decode(self, content: Content, f0_hz: FloatArray, style: FloatArray) -> FloatArray:
        """Content to 24 kHz speech [600 T] with another melody and the timbre of ``style``."""
        audio = self._decoder(
            {
                _CONTENT: content.features,
                _F0: f0_hz,
                _ENERGY: content.energy,
                "style": style[None].astype(np.float32),
            }
        )
        return np.asarray(audio, np.float32).reshape(-1)
