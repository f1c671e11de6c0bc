"""Synthetic, deterministic weights for the golden vectors (numpy only).

Every array depends on its state-dict name and shape alone, so a test can rebuild
the exact weights of any module without a download:

    state = {name: torch.from_numpy(a) for name, shape in listing.items()
             if (a := weights.synthetic(name, shape)) is not None}
    module.load_state_dict(state, strict=False)   # None: keep the constructor's value

The rule is written out in README.md beside this file.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

#: Last name components that are never generated: the module's constructor value stands.
KEPT = frozenset(
    {
        "filter",
        "freqs",
        "freqs_cis",
        "causal_mask",
        "input_pos",
        "num_batches_tracked",
        "mel_basis",
        "mask",
    }
)

#: Gain of the convolutions of the pitch network's deep residual U-Net (names "unet.*").
UNET_GAIN = 0.85

#: Full-name endings of embedding tables (unit-ish rows, so that an index matters).
EMBEDDING_ENDINGS = ("embedding.weight", "embeddings.weight", "embedder.weight")


def draw(name: str, shape: Iterable[int]) -> np.ndarray:
    """Standard normal float32 array seeded by the CRC-32 of the UTF-8 name."""
    seed = zlib.crc32(name.encode("utf-8"))
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.standard_normal(size=tuple(shape), dtype=np.float32)


def synthetic(name: str, shape: Iterable[int]) -> np.ndarray | None:
    """Weights of one state-dict entry, or None where the constructor's value is kept."""
    shape = tuple(int(size) for size in shape)
    leaf = name.rsplit(".", 1)[-1]
    if leaf in KEPT:
        return None
    n = draw(name, shape)
    one = np.float32(1.0)
    if leaf == "running_mean":
        return np.float32(0.05) * n
    if leaf == "running_var":
        return one + np.float32(0.1) * np.abs(n)
    if leaf == "weight_g":
        gain = one + np.float32(0.05) * n
        return np.float32(0.05) * gain if n.size == 1 else gain  # one channel: a waveform
    if leaf in ("alpha", "beta"):
        if name.endswith((".act.alpha", ".act.beta")):  # SnakeBeta keeps logarithms
            return np.float32(0.1) * n
        return one + np.float32(0.1) * np.abs(n)  # Snake keeps linear values
    if name.endswith(EMBEDDING_ENDINGS):
        return np.float32(0.5) * n
    if len(shape) >= 2:
        fan_in = math.prod(shape[1:])
        gain = UNET_GAIN if name.startswith("unet.") else 1.0
        return np.float32(gain / math.sqrt(fan_in)) * n
    if leaf == "weight":  # one-dimensional: a normalisation layer's gain
        return one + np.float32(0.05) * n
    return np.float32(0.02) * n  # biases and every other vector


def state_dict(shapes: Mapping[str, Iterable[int]]) -> dict[str, np.ndarray]:
    """Generated entries of a whole listing; kept entries are left out."""
    generated = ((name, synthetic(name, shape)) for name, shape in shapes.items())
    return {name: array for name, array in generated if array is not None}


def read_listing(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of a tab-separated listing (name, comma-separated shape or 'scalar', ...)."""
    shapes: dict[str, tuple[int, ...]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if len(fields) < 2 or not fields[0]:
                continue
            text = fields[1]
            shapes[fields[0]] = () if text == "scalar" else tuple(map(int, text.split(",")))
    return shapes
