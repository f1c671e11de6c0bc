"""A card of 8 GB, most of which others have: what is left limits the sessions."""

from __future__ import annotations

import pytest

from fast_vc_service.contract import State, Voice
from fast_vc_service.engine import device_memory, placement
from fast_vc_service.engine.capacity import Capacity
from fast_vc_service.engine.device_memory import PROBED, DeviceMemory, session_memory
from fast_vc_service.engine.placement import CapacityError, Lane, Placement
from fast_vc_service.engine.scheduler import Scheduler
from stub_converter import StubConverter, stub_voice

TOTAL, FREE, EACH = 8 << 30, 2 << 30, 16 << 20


class OnACard(StubConverter):
    """Sessions take memory of a pretended card for good."""

    def __init__(self) -> None:
        super().__init__(noise=0.0, delay=0)
        self.free = FREE

    def new_state(self, voice: Voice, *args: object, **named: object) -> State:
        if self.free < EACH:
            raise RuntimeError("CUDA out of memory. Tried to allocate 16.00 MiB.")
        self.free -= EACH
        return super().new_state(voice)


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> OnACard:
    made = OnACard()

    def memory(device: str) -> DeviceMemory | None:
        return DeviceMemory(made.free, TOTAL) if device.startswith("cuda") else None

    def measured(*_args: object, **_named: object) -> Capacity:
        return Capacity(1000, step_s=0.001, batch=4, stream_s=1e-6, block_s=0.04)

    monkeypatch.setattr(placement, "measure", measured)
    for module in (device_memory, placement):
        monkeypatch.setattr(module, "memory_of", memory)
    return made


def test_what_a_session_takes_is_seen(converter: OnACard) -> None:
    found = session_memory(converter, stub_voice(), "cuda:0")
    assert found is not None
    assert found.session_bytes == EACH
    assert found.sessions == PROBED + (FREE - PROBED * EACH - round(0.05 * TOTAL)) // EACH
    assert session_memory(converter, stub_voice(), "cpu") is None


def test_a_card_that_is_full_before_that_is_no_error(converter: OnACard) -> None:
    converter.free = 10 * EACH
    found = session_memory(converter, stub_voice(), "cuda:0")
    assert found is not None
    assert found.sessions == 10


def test_admission_knows_the_limit_by_memory(converter: OnACard) -> None:
    lane = Lane("cuda:0", converter, Scheduler(converter, threads=1, max_batch=4), 1, 4)
    placed = Placement([lane], None)
    placed.warm_up(stub_voice())
    assert lane.memory is not None
    assert placed.capacity == placed.limit == lane.memory.sessions < 1000
    for _ in range(placed.capacity):
        placed.reserve(post=lambda _call: None, log_id="-")
    with pytest.raises(CapacityError) as full:
        placed.reserve(post=lambda _call: None, log_id="-")
    assert "fit into the memory of the device" in full.value.why
    [numbers] = placed.device_memory().values()
    assert numbers == (TOTAL - converter.free, TOTAL, EACH)
    placed.stop()
