"""Session states as trees: nested dataclasses and tuples with tensors as leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

State = TypeVar("State")


def leaves(state: Any) -> list[Tensor]:
    """The tensors of ``state``, in an order that depends on its structure alone."""
    if isinstance(state, Tensor):
        return [state]
    return [leaf for part in _parts(state) for leaf in leaves(part)]


def finite_rows(state: Any) -> list[bool]:
    """Whether each row of the tensors ``[B, ...]`` of ``state`` holds numbers only."""
    floating = [leaf for leaf in leaves(state) if leaf.is_floating_point()]
    rows = torch.stack([torch.isfinite(leaf).reshape(len(leaf), -1).all(1) for leaf in floating])
    found: list[bool] = rows.all(0).tolist()
    return found


def total_norm(state: Any) -> Tensor:
    """The root of the sum of squares in ``state``; not finite where any number is not. A scalar."""
    # The largest magnitude would say the same and take four times as long on a CPU.
    return nn.utils.get_total_norm([leaf for leaf in leaves(state) if leaf.is_floating_point()])


def chosen(state: State, rows: Sequence[int]) -> State:
    """Some rows of the tensors ``[B, ...]`` of ``state``."""
    return rebuild(state, (leaf[list(rows)] for leaf in leaves(state)))


def rebuild(model: State, tensors: Iterator[Tensor]) -> State:
    """A state of the structure of ``model`` whose leaves are ``tensors``."""
    state: State = _rebuild(model, tensors)
    return state


def _rebuild(model: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(model, Tensor):
        return next(tensors)
    parts = [_rebuild(part, tensors) for part in _parts(model)]
    return tuple(parts) if isinstance(model, tuple) else type(model)(*parts)


def _parts(state: Any) -> list[Any]:
    if isinstance(state, tuple):
        return list(state)
    if not is_dataclass(state):
        raise TypeError(f"expected tensors, tuples and dataclasses, got {type(state).__name__}")
    return [getattr(state, field.name) for field in fields(state)]
