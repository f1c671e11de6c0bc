"""Where long work can be interrupted: between its pieces, others may use the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


def _go_on() -> None:
    """Nobody else wants the device."""


_pause: ContextVar[Callable[[], None]] = ContextVar("pause", default=_go_on)


def between_pieces() -> None:
    """Say that a piece of a step has ended and the next one has not begun."""
    _pause.get()()


@contextmanager
def pausing(pause: Callable[[], None]) -> Iterator[None]:
    """Have ``pause`` called between the pieces of what runs in the block."""
    token = _pause.set(pause)
    try:
        yield
    finally:
        _pause.reset(token)
