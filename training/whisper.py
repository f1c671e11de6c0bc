"""The encoder of Whisper-base in torch, as far as one of its layers: the teacher of content.

Radford et al. 2022; MIT. Weights are read from CTranslate2's file (``tools/whisper-base``), which
``python -m training.data tools`` fetches for the evaluation anyway; its decoder is not used.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE_HZ, HOP_SAMPLES, WINDOW_SAMPLES, MELS = 16_000, 160, 400, 80
FRAME_SAMPLES = 2 * HOP_SAMPLES
LEVEL = 0.05
"""RMS that clips are brought to."""

AFTER_S = 1.0
"""Silence behind a clip; the encoder wants no more context than that."""

LONGEST_S = 29.0
HEADS = 8

_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


class TeacherError(ValueError):
    """A file of the teacher is missing or is not what was expected."""


def read_ctranslate2(path: Path) -> dict[str, NDArray[Any]]:
    """Tensors of a ``model.bin`` of CTranslate2 by name, as stored.

    The format: version, name of the specification, its revision, then for each tensor its name,
    shape, type and bytes (``ctranslate2/specs/model_spec.py``).

    Raises:
        TeacherError: It is no such file.
    """
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise TeacherError(f"{path}: {error}; run `python -m training.data tools`") from error
    place = 0

    def take(form: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from("<" + form, content, place)
        place += struct.calcsize("<" + form)
        return int(value)

    def word() -> str:
        nonlocal place
        size = take("H")
        place += size
        return bytes(content[place - size : place]).rstrip(b"\0").decode()

    try:
        version, specification, _revision = take("I"), word(), take("I")
        if specification != "WhisperSpec" or version < 4:
            raise TeacherError(f"{path}: expected a WhisperSpec of version 4 or later")
        tensors = {}
        for _ in range(take("I")):
            name = word()
            shape = tuple(take("I") for _ in range(take("B")))
            kind, size = _TYPES[take("B")], take("I")
            tensors[name] = np.frombuffer(content[place : place + size], kind).reshape(shape)
            place += size
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise TeacherError(f"{path}: not a file of CTranslate2 ({error})") from error
    return tensors


def _filters() -> Tensor:
    """[MELS, WINDOW_SAMPLES / 2 + 1]: Slaney's mel scale, unit area, 0 to 8 kHz."""
    step, corner = 200.0 / 3, 1000.0
    rate = np.log(6.4) / 27
    top = corner / step + np.log(SAMPLE_RATE_HZ / 2 / corner) / rate
    mels = np.linspace(0.0, top, MELS + 2)
    edges = np.where(
        mels < corner / step, step * mels, corner * np.exp(rate * (mels - corner / step))
    )
    bins = np.fft.rfftfreq(WINDOW_SAMPLES, 1 / SAMPLE_RATE_HZ)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    triangles = np.maximum(np.minimum(rising, falling), 0.0) * area[:, None]
    return torch.from_numpy(triangles.astype(np.float32))


def log_mel(speech: Tensor) -> Tensor:
    """Whisper's own spectrum [MELS, samples / HOP_SAMPLES] of speech [samples]."""
    window = torch.hann_window(WINDOW_SAMPLES, device=speech.device)
    spectrum = torch.stft(
        speech, WINDOW_SAMPLES, HOP_SAMPLES, window=window, center=True, return_complex=True
    )
    power = spectrum[:, :-1].abs().square()
    mel = torch.log10((_filters().to(speech.device) @ power).clamp(min=1e-10))
    return (torch.maximum(mel, mel.max() - 8.0) + 4.0) / 4.0


class Layer(nn.Module):
    """Attention and a feed-forward network, each behind a norm and around a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_all, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] to the same."""
        query, key, value = (
            each.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for each in self.to_all(self.first_norm(x)).chunk(3, -1)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = x + self.down(functional.gelu(self.up(self.second_norm(x))))
        return out


class WhisperEncoder(nn.Module):
    """The first ``layers`` of the encoder, without its last norm."""

    positions: Tensor

    def __init__(self, layers: int, width: int = 512, longest: int = 1500) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))
        self.register_buffer("positions", torch.zeros(longest, width))

    def forward(self, mel: Tensor) -> Tensor:
        """[B, MELS, 2 T] to [B, T, width]."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return x


def load_encoder(path: Path, layers: int) -> WhisperEncoder:
    """The first ``layers`` layers from CTranslate2's ``model.bin``.

    Raises:
        TeacherError: The file is missing or lacks a tensor.
    """
    stored = read_ctranslate2(path)

    def of(name: str) -> Tensor:
        if name not in stored:
            raise TeacherError(f"{path}: no tensor {name!r}")
        return torch.from_numpy(stored[name].astype(np.float32))

    def pair(ours: str, theirs: str, weight: str, bias: str) -> dict[str, Tensor]:
        return {
            f"{ours}.weight": of(f"encoder/{theirs}/{weight}"),
            f"{ours}.bias": of(f"encoder/{theirs}/{bias}"),
        }

    tensors = {"positions": of("encoder/position_encodings/encodings")}
    for name in ("conv1", "conv2"):
        tensors |= pair(name, name, "weight", "bias")
    linear, norm = ("weight", "bias"), ("gamma", "beta")
    for number in range(layers):
        ours, theirs = f"layers.{number}", f"layer_{number}"
        tensors |= pair(f"{ours}.first_norm", f"{theirs}/self_attention/layer_norm", *norm)
        tensors |= pair(f"{ours}.to_all", f"{theirs}/self_attention/linear_0", *linear)
        tensors |= pair(f"{ours}.out", f"{theirs}/self_attention/linear_1", *linear)
        tensors |= pair(f"{ours}.second_norm", f"{theirs}/ffn/layer_norm", *norm)
        tensors |= pair(f"{ours}.up", f"{theirs}/ffn/linear_0", *linear)
        tensors |= pair(f"{ours}.down", f"{theirs}/ffn/linear_1", *linear)
    longest, width = tensors["positions"].shape
    encoder = WhisperEncoder(layers, width, longest)
    encoder.load_state_dict(tensors)
    return encoder.eval().requires_grad_(requires_grad=False)


@torch.inference_mode()
def listen(encoder: WhisperEncoder, speech: NDArray[np.float32]) -> Tensor:
    """The last layer's frames [samples / FRAME_SAMPLES, width] of speech [samples] at 16 kHz.

    Speech is padded to whole seconds, so that few lengths occur, and cut after LONGEST_S.
    """
    device = encoder.positions.device
    frames = min(len(speech), int(LONGEST_S * SAMPLE_RATE_HZ)) // FRAME_SAMPLES
    heard = torch.from_numpy(speech[: frames * FRAME_SAMPLES]).to(device)
    heard = heard * (LEVEL / heard.square().mean().sqrt().clamp(min=1e-6))
    seconds = -(-len(heard) // SAMPLE_RATE_HZ) + AFTER_S
    padded = functional.pad(heard, (0, int(seconds * SAMPLE_RATE_HZ) - len(heard)))
    out: Tensor = encoder(log_mel(padded)[None])[0, :frames]
    return out
