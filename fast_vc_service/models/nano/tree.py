"""Session states as trees: nested dataclasses and tuples with tensors as leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from torch import Tensor

State = TypeVar("State")


def leaves(state: Any) -> list[Tensor]:
    """The tensors of ``state``, in an order that depends on its structure alone."""
    if isinstance(state, Tensor):
        return [state]
    return [leaf for part in _parts(state) for leaf in leaves(part)]


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
