"""How many frames a client may send that carry no audio: they cost as much as those that do."""

from __future__ import annotations

from fast_vc_service.protocol.limits import BURST_FRAMES, FRAMES_A_SECOND

SMALL_FRAGMENT_BYTES = 1024
"""Fragments of at least this size carry what they cost; smaller ones count."""


class FrameRate:
    """A bucket of ``BURST_FRAMES`` that fills by ``FRAMES_A_SECOND``."""

    def __init__(self, now: float) -> None:
        self._left = float(BURST_FRAMES)
        self._at = now

    def take(self, now: float) -> bool:
        """Count a frame at ``now`` monotonic seconds; False when it is one too many."""
        self._left = min(BURST_FRAMES, self._left + (now - self._at) * FRAMES_A_SECOND)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
