"""What sessions report of their work; metrics and performance reports implement it."""

from __future__ import annotations

from typing import Literal, Protocol

Stage = Literal["decode", "resample_in", "queue", "step", "resample_out", "encode", "send", "total"]
"""``total`` is a block's latency: receipt of its last byte to hand-over of its output."""

BlockTimes = dict[Stage, float]
"""Seconds one block spent in each stage; a stage it did not go through is not in it."""


class Observer(Protocol):
    """Receives measurements; every method is cheap, thread-safe and never raises."""

    def session_opened(self) -> None:
        """A session took a slot."""
        ...

    def session_closed(self, code: str) -> None:
        """A slot was given back; ``code``: ``complete``, ``disconnect`` or an error code."""
        ...

    def refused(self, code: str) -> None:
        """A connection was turned away before it took a slot."""
        ...

    def block(self, times: BlockTimes) -> None:
        """A block was handed over; the observer keeps ``times``."""
        ...

    def step(self, seconds: float, batch: int) -> None:
        """The model ran one step of ``seconds`` wall time over ``batch`` sessions."""
        ...

    def late(self, blocks: int) -> None:
        """``blocks`` were silenced by the late policy or a fault."""
        ...
