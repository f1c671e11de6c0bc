"""How a blend of voices is named: by the JSON object of its weights, wherever a name is a text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

MOST_VOICES = 4
LEAST_SHARE = 0.001

RULE = f'an object of 1 to {MOST_VOICES} voices with positive weights, as in {{"a": 0.6, "b": 0.4}}'

VoiceTold = str | dict[str, float]
"""A voice as clients are told of it: a name, or names with shares that are 1 in all."""


class BlendError(ValueError):
    """Weights that make no blend."""


def blend_name(weights: Mapping[str, Any]) -> str:
    """Return the name of a blend; of one voice alone, that voice's.

    Shares are rounded to a thousandth and names are sorted, so that one blend has one name.

    Raises:
        BlendError: No voice or too many of them, or a weight that is no positive number.
    """
    if not 1 <= len(weights) <= MOST_VOICES:
        raise BlendError(f"expected 1 to {MOST_VOICES} voices, got {len(weights)}")
    for weight in weights.values():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise BlendError(f"expected numbers as weights, got {type(weight).__name__}")
        if not 0 < weight <= 1e9:
            raise BlendError("expected weights above 0 and at most 1000000000")
    total = math.fsum(weights.values())
    shares = {name: round(weights[name] / total, 3) for name in sorted(weights)}
    if min(shares.values()) < LEAST_SHARE:
        raise BlendError(f"expected a share of at least {LEAST_SHARE:g} for each voice")
    return next(iter(shares)) if len(shares) == 1 else json.dumps(shares)


def is_blend(name: str) -> bool:
    """Tell whether a name is that of a blend; no voice is called so."""
    return name.startswith("{")


def shares_of(name: str) -> dict[str, float]:
    """Return names and shares, 1 in all, of a blend.

    Raises:
        BlendError: It is no name of a blend.
    """
    try:
        shares = json.loads(name)
    except (ValueError, RecursionError) as error:
        raise BlendError(f"expected {RULE}; got no JSON") from error
    if not isinstance(shares, dict):
        raise BlendError(f"expected {RULE}")
    blend_name(shares)
    total = math.fsum(shares.values())
    return {part: share / total for part, share in shares.items()}


def told(name: str) -> VoiceTold:
    """Return a voice as clients are told of it."""
    return (
        {part: round(share, 3) for part, share in shares_of(name).items()}
        if is_blend(name)
        else name
    )
