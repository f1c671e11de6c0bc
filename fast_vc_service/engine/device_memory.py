"""Memory of a CUDA device, as its driver counts it: other programs and MIG slices included."""

from __future__ import annotations

from dataclasses import dataclass

from fast_vc_service.contract import Converter, State, Voice
from fast_vc_service.engine.device_errors import is_out_of_memory

PROBED = 64
"""Sessions that are opened to see what one takes; PyTorch reserves memory for several at once."""

KEPT_SHARE = 0.05
"""Part of a device's memory that sessions leave free."""


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of a device.

    Attributes:
        free: Nobody has them.
        total: There are.
    """

    free: int
    total: int


def memory_of(device: str) -> DeviceMemory | None:
    """Return the memory of ``device``; None for what is no CUDA device."""
    if not device.startswith("cuda"):
        return None
    import torch

    free, total = torch.cuda.mem_get_info(torch.device(device))
    return DeviceMemory(free, total)


@dataclass(frozen=True)
class SessionMemory:
    """What sessions take of a device.

    Attributes:
        session_bytes: One takes; 0 where too little to be seen.
        sessions: That fit.
    """

    session_bytes: int
    sessions: int


def session_memory(converter: Converter, voice: Voice, device: str) -> SessionMemory | None:
    """Open sessions on ``device`` and see what they take; None where it has no memory of its own.

    To be called after the largest step was made: what that needs is taken then.
    """
    before = memory_of(device)
    if before is None:
        return None
    states: list[State] = []
    try:
        for seed in range(PROBED):
            # One after the other: what there is room for stays open when there is no more.
            states.append(converter.new_state(voice, seed=seed))  # noqa: PERF401
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    after = memory_of(device)
    if after is None or not states:
        return SessionMemory(0, 1)
    each = max(0, before.free - after.free) // len(states)
    spare = max(0, after.free - round(KEPT_SHARE * after.total))
    more = spare // each if each else 1 << 20
    return SessionMemory(each, len(states) + more)
