"""One model thread, as those see it who watch over it: what it holds, and for how long already."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fast_vc_service.contract import Voice
from fast_vc_service.engine.batch_runner import Member
from fast_vc_service.engine.batching import Batch

LONGEST_CALL_S = 10.0
LONGEST_CALL_BLOCKS = 20
LONGEST_CALL_STEPS = 5
"""A call of the converter that takes longer than each of these has hung; the last one is in
measured steps."""


@dataclass(frozen=True)
class Measured:
    """What the warm-up has found, against which calls are judged.

    Attributes:
        voice: The voice it spoke with; a new thread proves itself with it.
        block_s: Seconds of audio a block.
        step_s: Wall seconds of a step over ``batch`` sessions (p95).
        batch: Sessions in that step.
    """

    voice: Voice
    block_s: float
    step_s: float
    batch: int

    def longest_call_s(self, sessions: int) -> float:
        """Seconds after which a call over so many sessions has hung."""
        expected_s = self.step_s * max(1.0, sessions / self.batch)
        return max(
            LONGEST_CALL_S, LONGEST_CALL_BLOCKS * self.block_s, LONGEST_CALL_STEPS * expected_s
        )


class ModelThread(threading.Thread):
    """A daemon, so that one that hangs cannot keep the process alive.

    Args:
        name: Of the thread.
        work: What it runs, given itself.
        wait_s: How long it waits before it begins.
        proves_itself: Whether it has to make a step of silence before it takes work.

    Attributes:
        batch: What it runs at present.
        members: The sessions of the batch.
        given_up: Whether nobody waits for it any more: what it still brings is thrown away.
        proving: Whether it makes its step of silence.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[ModelThread], None],
        *,
        wait_s: float = 0.0,
        proves_itself: bool = False,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self.wait_s = wait_s
        self.proves_itself = proves_itself
        self.batch: Batch | None = None
        self.members: Mapping[int, Member] = {}
        self.given_up = False
        self.proving = False
        self._calls = 0
        self._seen_calls = 0
        self._in_call_s = 0.0

    def run(self) -> None:
        """Work until there is nothing left to do."""
        self._work(self)

    def calls(self) -> None:
        """Take note that it calls the converter now."""
        self._calls += 1

    def in_call_s(self, elapsed_s: float) -> float:
        """Return for how long it has been in one call, as far as was looked.

        Args:
            elapsed_s: Seconds since it was looked at last, at most. A process that stood still
                has looked at nothing, so its threads have not hung.
        """
        busy = self.batch is not None or self.proving
        if not busy or self._calls != self._seen_calls:
            self._seen_calls = self._calls
            self._in_call_s = 0.0
        else:
            self._in_call_s += elapsed_s
        return self._in_call_s
