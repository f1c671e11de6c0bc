"""What the server says in JSON, as dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self


class FromJson:
    """A dataclass made of a JSON object: unknown members are ignored, missing ones get defaults."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Make one of what the server sent.

        Raises:
            TypeError: A member without a default is missing.
        """
        names = {item.name for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: value for name, value in content.items() if name in names})
