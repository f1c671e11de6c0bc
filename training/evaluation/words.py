"""Do the words survive: character and word errors of one transcript against another."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple


class Errors(NamedTuple):
    """Edits that turn what was heard into what was said, and the length of the latter."""

    edits: int
    length: int


def normalised(text: str) -> str:
    """Lower case, letters, digits and single spaces; compatible forms joined (NFKC)."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = (letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in folded)
    return " ".join("".join(kept).split())


def distance(said: Sequence[str], heard: Sequence[str]) -> int:
    """Levenshtein distance."""
    row = list(range(len(heard) + 1))
    for i, wanted in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, got in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (wanted != got))
    return row[-1]


def character_errors(said: str, heard: str) -> Errors:
    """Errors over the characters of the normalised texts, spaces counted."""
    first, second = normalised(said), normalised(heard)
    return Errors(distance(first, second), len(first))


def word_errors(said: str, heard: str) -> Errors:
    """Errors over the words of the normalised texts."""
    first, second = normalised(said).split(), normalised(heard).split()
    return Errors(distance(first, second), len(first))
