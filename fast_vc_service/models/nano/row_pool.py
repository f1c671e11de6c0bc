"""What sessions remember, in shared tensors with a row each.

A batch reads its rows and writes them back; nothing is joined to a batch and split again, and what
a session takes is fixed. Rows come in pages that never move, so one thread may open a session
while another steps others.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic

import torch
from torch import Tensor

from fast_vc_service.models.host_copies import to_device
from fast_vc_service.models.nano.tree import State, leaves, rebuild

PAGE_ROWS = 16


class RowPool(Generic[State]):
    """Rows of states that have one structure and one shape."""

    def __init__(self) -> None:
        self._pages: list[list[Tensor]] = []
        self._free: list[int] = []
        self._growing = threading.Lock()
        self._model: State | None = None

    @property
    def rows(self) -> int:
        """Rows there is memory for."""
        return PAGE_ROWS * len(self._pages)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row; 0 before the first was opened."""
        return sum(leaf.nbytes for leaf in self._pages[0]) // PAGE_ROWS if self._pages else 0

    def open(self, state: State) -> int:
        """Take a row, set to ``state`` (tensors ``[1, ...]``), and return its number."""
        with self._growing:
            if not self._free:
                self._grow(state)
            row = self._free.pop()
        try:
            self.write([row], state)
        except BaseException:
            self.close([row])
            raise
        return row

    def close(self, rows: Iterable[int]) -> None:
        """Give rows back; may be called from anywhere, a finalizer included."""
        self._free.extend(rows)

    def read(self, rows: Sequence[int]) -> State:
        """One state with the tensors ``[B, ...]`` of the rows; not to be written to.

        Cheapest when they are sorted: rows side by side are read at once.

        Raises:
            LookupError: No row was ever opened.
        """
        if self._model is None:
            raise LookupError("no row is open")
        runs = [
            [_rows_of(leaf, within) for leaf in self._pages[page]]
            for page, within, _ in self._by_page(rows)
        ]
        tensors = (
            runs[0] if len(runs) == 1 else [torch.cat(leaf) for leaf in zip(*runs, strict=True)]
        )
        return rebuild(self._model, iter(tensors))

    def write(self, rows: Sequence[int], state: State) -> None:
        """Set the rows to ``state`` (tensors ``[B, ...]``)."""
        news = leaves(state)
        for page, within, places in self._by_page(rows):
            for leaf, new in zip(self._pages[page], news, strict=True):
                part = new[places]
                if isinstance(within, slice):
                    leaf[within].copy_(part)
                else:
                    leaf.index_copy_(0, within, part)

    def _grow(self, state: State) -> None:
        page = [
            torch.empty(PAGE_ROWS, *leaf.shape[1:], dtype=leaf.dtype, device=leaf.device)
            for leaf in leaves(state)
        ]
        self._model = state
        first = self.rows
        self._pages.append(page)
        self._free.extend(reversed(range(first, first + PAGE_ROWS)))

    def _by_page(self, rows: Sequence[int]) -> Iterator[tuple[int, slice | Tensor, slice]]:
        """Cut ``rows`` where the page changes.

        Yields:
            The page, the rows within it, and their places in the batch.
        """
        begin, index = 0, None
        for page, run in itertools.groupby(rows, lambda row: row // PAGE_ROWS):
            within = [row % PAGE_ROWS for row in run]
            places = slice(begin, begin + len(within))
            begin = places.stop
            whole = slice(within[0], within[0] + len(within))
            if within == list(range(whole.start, whole.stop)):
                yield page, whole, places
                continue
            if index is None:
                # One for the batch: sent leaf by leaf, each would have to be waited for.
                index = torch.tensor([row % PAGE_ROWS for row in rows])
                index = to_device(index, self._pages[page][0].device)
            yield page, index[places], places


def _rows_of(leaf: Tensor, within: slice | Tensor) -> Tensor:
    if isinstance(within, slice):
        return leaf[within]
    return leaf.index_select(0, within)
