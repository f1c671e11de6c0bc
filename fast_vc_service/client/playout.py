"""What is played while a session runs: a little is kept back, gaps are faded, never clicked."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from fast_vc_service.contract import FloatArray

FADE_S = 0.005


class PlayoutBuffer:
    """Between a network that delivers when it can and a sound card that always asks.

    Playing begins, and begins again after it ran dry, once ``ahead_s`` is there. Safe to use from
    two threads.

    Args:
        rate: Hz.
        ahead_s: Audio kept back against jitter.

    Attributes:
        underruns: How often it ran dry while more was to come.
    """

    def __init__(self, rate: int, ahead_s: float) -> None:
        self.underruns = 0
        self._rate = rate
        self._ahead = round(rate * ahead_s)
        self._fade = max(1, round(rate * FADE_S))
        self._lock = threading.Lock()
        self._pieces: deque[FloatArray] = deque()
        self._waiting = 0
        self._playing = False
        self._ended = False
        self._last = np.float32(0.0)

    @property
    def waiting_s(self) -> float:
        """Seconds that are still to be played."""
        with self._lock:
            return self._waiting / self._rate

    def push(self, samples: FloatArray) -> None:
        """Add ``[n]`` samples."""
        with self._lock:
            self._pieces.append(samples)
            self._waiting += len(samples)

    def end(self) -> None:
        """Say that nothing more follows: all is played, however little, and running dry is right.

        What is still on its way may be pushed after it.
        """
        with self._lock:
            self._ended = True

    def resume(self) -> None:
        """Say that more follows after all, as at the beginning."""
        with self._lock:
            self._ended = False

    def pull(self, count: int) -> FloatArray:
        """Return ``[count]`` samples; silence where there are none."""
        with self._lock:
            begins = not self._playing
            if begins and (self._waiting >= max(self._ahead, 1) or (self._ended and self._waiting)):
                self._playing = True
            if not self._playing:
                return np.zeros(count, np.float32)
            played = self._take(count)
            if begins:
                rise = min(self._fade, len(played))
                played[:rise] *= np.linspace(0.0, 1.0, rise, dtype=np.float32)
            missing = count - len(played)
            if not missing:
                self._last = played[-1]
                return played
            self._playing = False
            self.underruns += not self._ended
            # The last sample is led down to nothing instead of being cut off.
            fall = np.zeros(missing, np.float32)
            last = played[-1] if len(played) else self._last
            length = min(self._fade, missing)
            fall[:length] = last * np.linspace(1.0, 0.0, length, dtype=np.float32)
            self._last = np.float32(0.0)
            return np.concatenate([played, fall])

    def _take(self, count: int) -> FloatArray:
        taken: list[FloatArray] = []
        due = min(count, self._waiting)
        self._waiting -= due
        while due:
            piece = self._pieces.popleft()
            if len(piece) > due:
                self._pieces.appendleft(piece[due:])
                piece = piece[:due]
            taken.append(piece)
            due -= len(piece)
        return np.concatenate(taken) if taken else np.zeros(0, np.float32)
