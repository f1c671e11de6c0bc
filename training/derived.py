"""What is computed once of every packed shard and kept beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.packed_speech import up_to_date

Shard = Mapping[str, Any]
"""Arrays by name."""


def derive_all(
    root: Path,
    folder: Callable[[str], Path],
    name: str,
    derive: Callable[[Shard], NDArray[np.generic]],
) -> None:
    """Derive from each shard of ``features/KIND`` what is missing or older than the shard.

    Args:
        root: The training root.
        folder: Given a kind, returns where the results go, in files of the shards' names.
        name: The array in those files.
        derive: Makes it of the arrays of a shard.
    """
    for kind in ("real", "synthetic"):
        for path in sorted((root / "features" / kind).glob("shard-*.npz")):
            out = folder(kind) / path.name
            if up_to_date(out, path) or ".partial" in path.name:
                continue
            started = time.monotonic()
            with np.load(path) as stored:
                result = derive(stored)
            out.parent.mkdir(parents=True, exist_ok=True)
            partial = out.with_suffix(".partial.npz")
            arrays: dict[str, Any] = {name: result}
            np.savez(partial, **arrays)
            partial.replace(out)
            print(f"{kind}/{path.name}: {time.monotonic() - started:.1f} s", flush=True)
