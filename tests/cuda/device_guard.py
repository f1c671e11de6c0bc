"""A device guard for CUDA, which a CPU build of PyTorch lacks: without it indexing fails there."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from functools import cache
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths, library_paths

SOURCE = Path(__file__).with_name("guard.cpp")
BUILT = Path(__file__).parents[2] / ".pytest_cache" / "device_guard"
COMPILERS = ("c++", "g++", "clang++")


def compiler() -> str:
    """The C++ compiler.

    Raises:
        RuntimeError: There is none. Nothing is tested without it, so this is no reason to skip.
    """
    for name in COMPILERS:
        found = shutil.which(name)
        if found is not None:
            return found
    raise RuntimeError(f"tests/cuda needs a C++ compiler: one of {', '.join(COMPILERS)}")


@cache
def load_guard() -> None:
    """Build the guard where that was not done yet, and register it in this process."""
    command = compiler()
    key = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    library = BUILT / f"{key}.so"
    if not library.is_file():
        BUILT.mkdir(parents=True, exist_ok=True)
        unfinished = library.with_suffix(".part")
        folders = [f"-I{path}" for path in include_paths()]
        libraries = [*(f"-L{path}" for path in library_paths()), "-lc10"]
        flags = ["-shared", "-fPIC", "-std=c++20", "-O1", "-w", *folders]
        subprocess.run(
            [command, *flags, str(SOURCE), "-o", str(unfinished), *libraries], check=True
        )
        unfinished.replace(library)
    ctypes.CDLL(str(library))
