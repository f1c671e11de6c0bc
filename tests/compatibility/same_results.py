"""Settings under which arithmetic gives the same bits on as many CPUs as possible.

torch, oneDNN and MKL choose kernels by what the CPU can do, and the order of a sum by the number
of threads. Held down to AVX2 and one thread, every x86-64 CPU of the last ten years runs the same
kernels. What chooses for itself all the same (OpenBLAS in NumPy, libopus) is why audio is also
compared by fingerprint.
"""

from __future__ import annotations

import platform
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
}

_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd")
_PACKAGES = ("numpy", "torch", "soxr", "soundfile", "pyworld-prebuilt")


def machine() -> dict[str, str]:
    """Return what decides bits: the kind of CPU and the libraries that compute."""
    return {
        "cpu": _cpu(),
        **{package: version(package).partition("+")[0] for package in _PACKAGES},
        "libopus": opuslib().api.info.get_version_string().decode(),
    }


@cache
def opuslib() -> Any:
    """Return the bindings of libopus, whose source makes Python warn when it is first compiled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import opuslib.api.info
    return opuslib


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.system()} {platform.machine()}"
    told = dict(
        (part.strip() for part in line.split(":", 1)) for line in reversed(lines) if ":" in line
    )
    flags = told.get("flags", told.get("Features", "")).split()
    kind = [told.get(name, "?") for name in ("vendor_id", "cpu family", "model")]
    return " ".join([platform.machine(), *kind, *(flag for flag in _FLAGS if flag in flags)])
