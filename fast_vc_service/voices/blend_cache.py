"""The blends that were used last, so that sessions with the same blend share it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from fast_vc_service.contract import Voice
from fast_vc_service.protocol.voice_choice import Blend

BLENDS_KEPT = 32
"""Of about 250 KB each. A slider makes a new one at every stop."""


class BlendCache:
    """A bounded number of blends; safe to use from many threads.

    Args:
        size: Most blends that are kept.
    """

    def __init__(self, size: int = BLENDS_KEPT) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[Blend, tuple[tuple[Voice, ...], Voice]] = OrderedDict()

    def __len__(self) -> int:
        """Blends that are kept."""
        return len(self._kept)

    def get(self, asked: Blend, parts: Sequence[Voice], make: Callable[[], Voice]) -> Voice:
        """Return the blend ``asked`` for, of exactly these ``parts``; ``make`` it when not kept."""
        with self._lock:
            kept = self._kept.get(asked)
            if kept is not None and all(a is b for a, b in zip(kept[0], parts, strict=True)):
                self._kept.move_to_end(asked)
                return kept[1]
        blend = make()
        with self._lock:
            self._kept[asked] = (tuple(parts), blend)
            self._kept.move_to_end(asked)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return blend
