"""Half precision where it pays."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def half_precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast to bfloat16 on CUDA and on CPUs that multiply it; nothing elsewhere.

    A CPU without AVX-512 bf16 or AMX emulates it, slower than float32.
    """
    if device.type == "cpu" and not _cpu_multiplies_bfloat16():
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def _cpu_multiplies_bfloat16() -> bool:
    # oneDNN's own answer also counts CPUs on which it converts to float32 and back.
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
