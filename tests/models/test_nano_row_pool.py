from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fast_vc_service.audio.files import read_audio
from fast_vc_service.models.nano.converter import NanoConverter
from fast_vc_service.models.nano.row_pool import PAGE_ROWS, RowPool
from fast_vc_service.models.nano.tree import leaves, rebuild
from tests.models import nano_networks

WAVS = Path(__file__).parents[2] / "wavs"


@dataclass(frozen=True)
class Inner:
    count: Tensor
    pair: tuple[Tensor, tuple[Tensor, ...]]


def state(*values: int) -> tuple[Tensor, Inner]:
    """A state of some depth with a row a value; every leaf tells the value."""
    column = torch.tensor(values)
    wide = column[:, None].expand(-1, 3).float()
    return wide, Inner(column.clone(), (wide.double(), (column[:, None, None] + 0.0,)))


def values(read: tuple[Tensor, Inner]) -> list[int]:
    told = [leaf.reshape(len(leaf), -1)[:, 0].tolist() for leaf in leaves(read)]
    assert all(each == told[0] for each in told)
    return [int(value) for value in told[0]]


def test_a_tree_is_its_leaves_and_its_structure() -> None:
    one = state(7)
    again = rebuild(one, iter(leaves(one)))
    assert isinstance(again[1], Inner)
    assert values(again) == [7]
    with pytest.raises(TypeError, match="got list"):
        leaves([one])


@given(
    order=st.permutations(range(2 * PAGE_ROWS + 3)),
    batch=st.integers(1, 8),
)
def test_rows_keep_what_was_written_in_whatever_batches(order: Sequence[int], batch: int) -> None:
    slots: RowPool[tuple[Tensor, Inner]] = RowPool()
    rows = [slots.open(state(number)) for number in range(len(order))]
    for begin in range(0, len(order), batch):
        chosen = [rows[number] for number in order[begin : begin + batch]]
        assert values(slots.read(chosen)) == list(order[begin : begin + batch])
        slots.write(chosen, state(*(100 + number for number in order[begin : begin + batch])))
    assert values(slots.read(rows)) == [100 + number for number in range(len(order))]


def test_rows_are_used_again_and_start_anew() -> None:
    slots: RowPool[tuple[Tensor, Inner]] = RowPool()
    with pytest.raises(LookupError, match="no row is open"):
        slots.read([0])
    rows = [slots.open(state(number)) for number in range(PAGE_ROWS)]
    assert slots.rows == PAGE_ROWS
    slots.close(rows[:4])
    reused = [slots.open(state(50 + number)) for number in range(4)]
    assert sorted(reused) == sorted(rows[:4])
    assert slots.rows == PAGE_ROWS
    assert values(slots.read(reused)) == [50, 51, 52, 53]
    assert values(slots.read(rows[4:])) == list(range(4, PAGE_ROWS))
    slots.open(state(99))
    assert slots.rows == 2 * PAGE_ROWS


def test_a_row_that_could_not_be_set_is_given_back() -> None:
    slots: RowPool[tuple[Tensor, Inner]] = RowPool()
    first = slots.open(state(0))
    before = list(slots._free)

    def full(*_args: object) -> None:
        raise RuntimeError("CUDA out of memory")

    slots.write = full  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        slots.open(state(1))
    assert sorted(slots._free) == sorted(before)
    assert first not in slots._free


def test_a_row_costs_what_its_tensors_hold() -> None:
    slots: RowPool[tuple[Tensor, Inner]] = RowPool()
    assert slots.row_bytes == 0
    slots.open(state(1))
    assert slots.row_bytes == 3 * 4 + 8 + 3 * 8 + 4


def test_a_session_that_is_gone_leaves_its_memory_to_the_next() -> None:
    converter = NanoConverter(nano_networks.networks(), block_ms=60)
    audio, rate = read_audio(WAVS / "references" / "alto.wav")
    voice = converter.make_voice("alto", audio[: 3 * rate], rate)
    states = [converter.new_state(voice) for _ in range(PAGE_ROWS)]
    taken = {(each.row, each.voice_row) for each in states}
    assert len(taken) == PAGE_ROWS
    assert converter.session_bytes > 0
    del states[3:6]
    gc.collect()
    again = converter.new_state(voice)
    assert (again.row, again.voice_row) in taken
