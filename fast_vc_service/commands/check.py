"""What `fast-vc doctor` finds of one thing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: What.
        verdict: A ``problem`` stops the service; a ``warning`` does not.
        finding: What was found.
        advice: What to do about it; empty when all is well.
        values: The measured figures, units in their names.
    """

    name: str
    verdict: Verdict
    finding: str
    advice: str = ""
    values: dict[str, Any] = field(default_factory=dict)
