"""What was recorded must still be there: additions are allowed, changes and removals are not."""

from __future__ import annotations

import json
from typing import Any


def differences(recorded: Any, present: Any, place: str = "") -> list[str]:
    """Return where ``present`` lacks or contradicts what ``recorded`` holds, one line each.

    Objects may have more keys than were recorded; lists and plain values must be equal. A set is
    recorded as an object, so that it may grow.
    """
    if isinstance(recorded, dict) and isinstance(present, dict):
        found = []
        for key, value in recorded.items():
            inside = f"{place}/{key}"
            if key in present:
                found += differences(value, present[key], inside)
            else:
                found.append(f"{inside}: was {_short(value)}, is gone")
        return found
    if isinstance(recorded, list) and isinstance(present, list):
        if len(recorded) != len(present):
            return [
                f"{place}: had {len(recorded)} items, has {len(present)}: "
                f"{_short(recorded)} became {_short(present)}"
            ]
        return [
            line
            for index, pair in enumerate(zip(recorded, present, strict=True))
            for line in differences(*pair, f"{place}/{index}")
        ]
    # In Python True equals 1; on the wire they differ.
    if type(recorded) is type(present) and recorded == present:
        return []
    return [f"{place}: was {_short(recorded)}, is {_short(present)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else text[:300] + "…"
