"""Where results go, and the machine they hold for."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"

_PACKAGES = (
    "fast-vc-service",
    "numpy",
    "torch",
    "uvicorn",
    "uvloop",
    "websockets",
    "pyworld-prebuilt",
)


CORES = sorted(
    os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
)
"""Numbers of the cores this process could use when it began."""


def machine() -> dict[str, object]:
    """Describe this machine as far as it bears on the figures."""
    return {
        "cpu": _cpu_model(),
        "cores": len(CORES),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def save(name: str, folder: Path, **content: object) -> Path:
    """Write ``<folder>/<name>.json`` with the machine and the time; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    measured = datetime.now(UTC).isoformat(timespec="seconds")
    document = {"benchmark": name, "measured": measured, "machine": machine(), **content}
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def load(path: Path) -> dict[str, Any]:
    """Read what :func:`save` wrote."""
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
