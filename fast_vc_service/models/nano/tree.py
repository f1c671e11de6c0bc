"""Session states, as nested dataclasses and tuples of tensors: many to a batch and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

State = TypeVar("State")


def join(states: Sequence[State]) -> State:
    """One state whose tensors hold the rows of all."""
    return states[0] if len(states) == 1 else _join(states)


def _join(states: Sequence[Any]) -> Any:
    first = states[0]
    if isinstance(first, Tensor):
        return torch.cat(list(states))
    if isinstance(first, tuple):
        return tuple(_join(parts) for parts in zip(*states, strict=True))
    names = [field.name for field in fields(first)]
    return type(first)(*(_join([getattr(state, name) for state in states]) for name in names))


def split(state: State, rows: int) -> list[State]:
    """The states of the rows; the inverse of :func:`join`."""
    return [state] if rows == 1 else [_row(state, row) for row in range(rows)]


def _row(state: Any, row: int) -> Any:
    if isinstance(state, Tensor):
        return state[row : row + 1].clone()
    if isinstance(state, tuple):
        return tuple(_row(part, row) for part in state)
    return type(state)(*(_row(getattr(state, field.name), row) for field in fields(state)))
