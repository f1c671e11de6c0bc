"""Speakers of the synthetic speech: 54 recorded styles and any number of mixtures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.kokoro import ModelFilesError

FloatArray = NDArray[np.float32]

HELD_OUT_PER_SEX = 3
PURE_SHARE = 0.25

_LETTERS = {"en-us": "a", "en-gb": "b", "es": "e", "fr": "f", "hi": "h", "it": "i", "pt": "p"}
_LETTERS |= {"ja": "j", "zh": "z"}


@dataclass(frozen=True)
class Recipe:
    """A speaker as a mixture of named voices; one name with weight 1 is that voice unchanged."""

    names: tuple[str, ...]
    weights: tuple[float, ...] = (1.0,)
    gain: float = 1.0
    """Factor on the weighted mean distance from the average voice."""


@dataclass(frozen=True)
class VoiceBank:
    """All styles.

    Attributes:
        names: voice names; the second letter tells the sex (f, m), the first the language.
        styles: [voices, rows, 256]; the row is the number of tokens of the sentence.
    """

    names: tuple[str, ...]
    styles: FloatArray
    _mean: FloatArray = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> VoiceBank:
        """Read the ``*.bin`` files of a folder.

        Raises:
            ModelFilesError: the folder has none.
        """
        paths = sorted(folder.glob("*.bin"))
        if not paths:
            raise ModelFilesError(f"no voices in {folder}: run `python -m training.data fetch`")
        styles = [np.fromfile(path, np.float32).reshape(-1, 256) for path in paths]
        rows = min(len(style) for style in styles)
        stacked = np.stack([style[:rows] for style in styles])
        return cls(tuple(path.stem for path in paths), stacked, stacked.mean(0))

    def style(self, recipe: Recipe, row: int) -> FloatArray:
        """The style vector [256] of a speaker for a sentence of ``row`` tokens."""
        chosen = self.styles[[self.names.index(name) for name in recipe.names], row]
        if len(recipe.names) == 1:
            return np.asarray(chosen[0], np.float32)
        # Averaging styles shrinks them towards one average voice: restore the distance from it.
        mean = self._mean[row]
        weights = np.asarray(recipe.weights, np.float32)
        deviations = chosen - mean
        mixed = weights @ deviations
        norm = weights @ np.linalg.norm(deviations, axis=1)
        scale = recipe.gain * norm / max(float(np.linalg.norm(mixed)), 1e-6)
        return np.asarray(mean + scale * mixed, np.float32)

    def split(self, seed: int) -> tuple[list[str], list[str]]:
        """Names for training and names held out for evaluation (the same number of each sex)."""
        rng = np.random.default_rng([seed, 54])
        held_out: list[str] = []
        for sex in "fm":
            names = [name for name in self.names if name[1] == sex]
            held_out += [str(name) for name in rng.choice(names, HELD_OUT_PER_SEX, replace=False)]
        return [name for name in self.names if name not in held_out], sorted(held_out)


def random_recipe(names: Sequence[str], rng: np.random.Generator) -> Recipe:
    """A pure voice or a mixture of two or three."""
    if rng.random() < PURE_SHARE:
        return Recipe((str(rng.choice(names)),))
    count = int(rng.integers(2, 4))
    chosen = tuple(str(name) for name in rng.choice(names, count, replace=False))
    weights = rng.dirichlet([1.5] * count)
    return Recipe(
        chosen, tuple(round(float(w), 4) for w in weights), round(rng.uniform(0.95, 1.15), 3)
    )


def native_recipe(names: Sequence[str], language: str, rng: np.random.Generator) -> Recipe:
    """A pure voice of the language where one is left, for rhythm and melody."""
    native = [name for name in names if name[0] == _LETTERS[language]]
    return Recipe((str(rng.choice(native or list(names))),))
