"""Whether what is kept of a session holds numbers only."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def all_finite(value: Any) -> bool:
    """Tell whether no number in ``value`` is NaN or infinite.

    Args:
        value: A number, a NumPy array, or a dataclass or tuple of them; what is anything else
            counts as finite.
    """
    if isinstance(value, np.ndarray):
        return not np.issubdtype(value.dtype, np.floating) or bool(np.isfinite(value).all())
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, tuple):
        return all(all_finite(part) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return all(all_finite(getattr(value, field.name)) for field in fields(value))
    return True
