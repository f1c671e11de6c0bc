"""The teacher's features as content: a projection of one of its layers, and units of it.

``start/units.npz`` holds ``layer``, ``mean`` [512], ``projection`` [512, 96] (PCA of z-scored
dimensions), ``centroids`` [512, 96] (k-means) and ``to_content`` [97, 96].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

UNITS = Path(__file__).with_name("start") / "units.npz"
CONTENT = 96


@dataclass(frozen=True)
class Units:
    """See the module's description.

    Attributes:
        layer: of the teacher, from 1.
        mean, projection, centroids: [512], [512, 96], [512, 96].
        to_content: [97, 96], the last row is added.
    """

    layer: int
    mean: Tensor
    projection: Tensor
    centroids: Tensor
    to_content: Tensor

    @classmethod
    def load(cls, path: Path | None = None) -> Units:
        """Read the file, ``start/units.npz`` unless told otherwise."""
        with np.load(path or UNITS) as stored:
            arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
        return cls(
            int(arrays["layer"]),
            *(arrays[name].float() for name in ("mean", "projection", "centroids", "to_content")),
        )

    def project(self, features: Tensor) -> Tensor:
        """[..., 512] of the teacher to [..., 96]."""
        return (features - self.mean) @ self.projection

    def nearest(self, projected: Tensor) -> Tensor:
        """The unit [N] of each frame [N, 96]."""
        return torch.cdist(projected, self.centroids).argmin(-1)

    def content(self, projected: Tensor) -> Tensor:
        """What the content encoder learns to predict: [..., 96] to the same."""
        normed = functional.layer_norm(projected, projected.shape[-1:])
        return normed @ self.to_content[:-1] + self.to_content[-1]

    def wanted(
        self, projected: NDArray[np.generic], frames: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Content [frames, 96] of at most as many projected frames, and where there is some.

        Zeros in ``projected`` are where the clip was longer than the teacher listens.
        """
        found = projected.astype(np.float32)
        counts = np.zeros(frames, np.bool_)
        counts[: len(found)] = found.any(1)
        wanted = np.zeros((frames, CONTENT), np.float32)
        wanted[: len(found)] = self.content(torch.from_numpy(found)).numpy()
        return wanted, counts
