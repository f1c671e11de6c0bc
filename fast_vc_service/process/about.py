"""What exactly runs here: version, build, Python, torch, devices."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

from fast_vc_service import __version__


def describe(device: str) -> dict[str, Any]:
    """Return what a bug report needs; imports torch, which takes seconds.

    Args:
        device: Where the settings have the model run.
    """
    import torch

    return {
        "version": __version__,
        "build": build(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": str(torch.__version__),
        "device": device,
        "devices": devices(),
    }


def build() -> str | None:
    """Return the commit of the checkout this runs from; None when it is installed otherwise."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--tags"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def devices() -> list[str]:
    """Return the devices torch sees with their names; the CPU comes first."""
    import torch

    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.append("mps")
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        found += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(count)]
    return found
