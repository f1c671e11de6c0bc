"""The networks that listen: two speaker verifiers, a recogniser, and a judge of quality.

None of them is a dependency of the service; ``python -m training.data tools`` fetches them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fast_vc_service.models.campplus import load_campplus

FloatArray = NDArray[np.float32]
Embed = Callable[[FloatArray], FloatArray]
"""Speech ``[n]`` at 16 kHz to a speaker embedding of length 1."""

RESEMBLYZER_DBFS = -30.0
_DNSMOS_S = 9.01
_DNSMOS_RATE_HZ = 16_000

# Raw score to mean opinion score, as published with DNSMOS P.835.
_SIG = np.poly1d([-0.08397278, 1.22083953, 0.0052439])
_BAK = np.poly1d([-0.13166888, 1.60915514, -0.39604546])
_OVRL = np.poly1d([-0.06766283, 1.11546468, 0.04602535])


class ToolError(RuntimeError):
    """A tool of the evaluation is missing; the message says how to get it."""


def _module(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ToolError(
            f"{package}: {error}; run `python -m pip install -r training/requirements.txt` "
            "and `python -m training.data tools`"
        ) from error


def resemblyzer() -> Embed:
    """Wan et al., "Generalized end-to-end loss for speaker verification"; 256 numbers.

    The level is raised as its authors do; pauses are not cut out, which needs ``webrtcvad``.
    """
    # Imported at the top of the package and used only to cut out pauses.
    sys.modules.setdefault("webrtcvad", types.ModuleType("webrtcvad"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = _module("resemblyzer", "resemblyzer")
        normalise = _module("resemblyzer.audio", "resemblyzer").normalize_volume
    encoder = package.VoiceEncoder("cpu", verbose=False)

    def embed(speech: FloatArray) -> FloatArray:
        if not np.any(speech):
            return np.zeros(256, np.float32)
        level = normalise(speech, RESEMBLYZER_DBFS, increase_only=True)
        return np.asarray(encoder.embed_utterance(level.astype(np.float32)), np.float32)

    return embed


def campplus(path: Path) -> Embed:
    """CAM++, 192 numbers, made of length 1."""
    network = load_campplus(path)

    def embed(speech: FloatArray) -> FloatArray:
        with torch.inference_mode():
            embedding = network.embed(torch.from_numpy(np.ascontiguousarray(speech)))
        vector = embedding.numpy().reshape(-1)
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)

    return embed


def whisper(model: str) -> Callable[[FloatArray, str], str]:
    """Greedy transcripts: beam 1, temperature 0, the language set, no text carried over.

    Args:
        model: folder of a CTranslate2 model, or a name that ``faster-whisper`` finds.
    """
    package = _module("faster_whisper", "faster-whisper")
    try:
        recogniser = package.WhisperModel(
            model, device="cpu", compute_type="float32", cpu_threads=1
        )
    except Exception as error:
        raise ToolError(
            f"whisper {model}: {error}; run `python -m training.data tools`, or name another model"
        ) from error

    def transcribe(speech: FloatArray, language: str) -> str:
        segments, _ = recogniser.transcribe(
            speech,
            language=language,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
        )
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe


def dnsmos() -> Callable[[FloatArray], tuple[float, float, float]]:
    """DNSMOS P.835: (SIG, BAK, OVRL) of speech at 16 kHz, means over windows of 9.01 s.

    Short speech is repeated, as in the published script.
    """
    spec = importlib.util.find_spec("speechmos")
    if spec is None or spec.origin is None:
        raise ToolError("speechmos: not installed; run `python -m training.data tools`")
    runtime = _module("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = Path(spec.origin).parent / "dnsmos_models" / "sig_bak_ovr.onnx"
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    window, hop = int(_DNSMOS_S * _DNSMOS_RATE_HZ), _DNSMOS_RATE_HZ

    def judge(speech: FloatArray) -> tuple[float, float, float]:
        audio = np.clip(speech, -1.0, 1.0)
        while len(audio) < window:
            audio = np.concatenate([audio, audio])
        starts = range(0, len(audio) - window + 1, hop)
        raw = np.mean(
            [
                [
                    curve(value)
                    for curve, value in zip(
                        (_SIG, _BAK, _OVRL),
                        session.run(None, {"input_1": audio[None, start : start + window]})[0][0],
                        strict=True,
                    )
                ]
                for start in starts
            ],
            axis=0,
        )
        return float(raw[0]), float(raw[1]), float(raw[2])

    return judge
