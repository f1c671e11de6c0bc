"""What a client may choose to speak with: a voice by its name, or a blend of several."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fast_vc_service.protocol.checks import is_unicode
from fast_vc_service.protocol.limits import LEAST_SHARE, MOST_VOICES

RULE = f'an object of 1 to {MOST_VOICES} voices with positive weights, as in {{"a": 0.6, "b": 0.4}}'

JsonVoice = str | Mapping[str, float]
"""A choice as JSON has it: a name, or names with weights."""


class BlendError(ValueError):
    """Weights that make no blend."""


@dataclass(frozen=True, slots=True)
class Blend:
    """A voice between several; made by :func:`choose`, so that equal blends are equal.

    Attributes:
        shares: Names with their shares, thousandths of about 1 in all, by name.
    """

    shares: tuple[tuple[str, float], ...]

    def names(self) -> tuple[str, ...]:
        """Return the names of its voices."""
        return tuple(name for name, _ in self.shares)

    def parts(self) -> tuple[tuple[str, float], ...]:
        """Return names with shares that are exactly 1 in all."""
        total = math.fsum(share for _, share in self.shares)
        return tuple((name, share / total) for name, share in self.shares)


VoiceChoice = str | Blend
"""A voice's name, or a blend."""


def choose(weights: Mapping[str, Any]) -> VoiceChoice:
    """Return the blend with these weights; of one voice alone, that voice's name.

    Shares are rounded to a thousandth.

    Raises:
        BlendError: No voice or too many of them, or a weight that is no positive number.
    """
    if not 1 <= len(weights) <= MOST_VOICES:
        raise BlendError(f"expected 1 to {MOST_VOICES} voices, got {len(weights)}")
    if not all(is_unicode(name) for name in weights):
        raise BlendError("expected names in Unicode, got unpaired surrogates")
    for weight in weights.values():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise BlendError(f"expected numbers as weights, got {type(weight).__name__}")
        if not 0 < weight <= 1e9:
            raise BlendError("expected weights above 0 and at most 1000000000")
    total = math.fsum(weights.values())
    shares = tuple((name, round(weights[name] / total, 3)) for name in sorted(weights))
    if min(share for _, share in shares) < LEAST_SHARE:
        raise BlendError(f"expected a share of at least {LEAST_SHARE:g} for each voice")
    return shares[0][0] if len(shares) == 1 else Blend(shares)


def from_text(text: str) -> VoiceChoice:
    """Return the choice that a form, a command line or a file writes as text.

    Raises:
        BlendError: It begins like the JSON of a blend and is none.
    """
    if not text.startswith("{"):
        return text
    try:
        weights = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BlendError(f"expected {RULE}; got no JSON") from error
    return choose({normal_name(name): weight for name, weight in weights.items()})


def named_by(text: str) -> VoiceChoice:
    """Return the choice that a text names; what makes no blend is a name, and may be unknown."""
    try:
        return from_text(text)
    except BlendError:
        return text


def as_found(choice: VoiceChoice, name: str) -> VoiceChoice:
    """Return a choice as it is told once its voice was found under ``name``."""
    return choice if isinstance(choice, Blend) else name


def to_text(choice: VoiceChoice) -> str:
    """Return a choice as text: a name, or the JSON of its shares."""
    return choice if isinstance(choice, str) else json.dumps(dict(choice.shares))


def to_json(choice: VoiceChoice) -> str | dict[str, float]:
    """Return a choice as JSON has it."""
    return choice if isinstance(choice, str) else dict(choice.shares)


def normal_name(name: str) -> str:
    """Return ``name`` composed: some file systems take accents off their letters."""
    return unicodedata.normalize("NFC", name)
