"""Why CUDA cannot be used on this machine, said so that somebody can do something about it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CudaFacts:
    """What decides whether a device can be used.

    Attributes:
        torch: Version of PyTorch.
        cuda: Version of CUDA that this build is for; None for a CPU build.
        visible: ``CUDA_VISIBLE_DEVICES``; None where it is not set.
        driver: Whether there is an NVIDIA driver.
        in_container: Whether this runs in a container.
        failure: What CUDA said when it was started; None when it started.
        devices: How many there are.
        architecture: Of the device that is asked for, as ``"sm_90"``; None where it is not there.
        built_for: Architectures of this build.
        bfloat16: Whether the device computes in it natively.
    """

    torch: str
    cuda: str | None
    visible: str | None = None
    driver: bool = True
    in_container: bool = False
    failure: str | None = None
    devices: int = 0
    architecture: str | None = None
    built_for: tuple[str, ...] = ()
    bfloat16: bool = True


def why_unusable(facts: CudaFacts, index: int) -> str | None:
    """Return why device ``index`` cannot be used and what to try; None where it can."""
    if facts.cuda is None:
        return f"PyTorch {facts.torch} is its CPU build; try `make setup GPU=1`"
    if facts.visible is not None and facts.visible.strip() in ("", "-1", "NoDevFiles"):
        return "CUDA_VISIBLE_DEVICES hides every GPU; try `unset CUDA_VISIBLE_DEVICES`"
    if not facts.driver:
        if facts.in_container:
            return "this container was started without a GPU; try `docker run --gpus all …`"
        return "there is no NVIDIA driver; try `nvidia-smi` once one is installed"
    if facts.failure is not None:
        first = facts.failure.strip().splitlines()[0]
        if "driver" in first and ("too old" in first or "insufficient" in first):
            return (
                f"the NVIDIA driver is too old for CUDA {facts.cuda}; update it, then try "
                "`nvidia-smi`"
            )
        return f"CUDA cannot be started: {first}; try `nvidia-smi`"
    if index >= facts.devices:
        return f"there are {facts.devices} CUDA devices, counted from 0; try `nvidia-smi -L`"
    if facts.architecture is not None and not _built_for(facts.architecture, facts.built_for):
        return (
            f"PyTorch {facts.torch} has no code for this GPU ({facts.architecture}; it has "
            f"{', '.join(facts.built_for)}); try a build for it: "
            "https://pytorch.org/get-started/locally/"
        )
    return None


def why_no_bfloat16(facts: CudaFacts) -> str | None:
    """Return why bfloat16 would gain nothing; None where the device has it."""
    if facts.bfloat16:
        return None
    return "this GPU has no native bfloat16; try FAST_VC_SEEDVC_PRECISION=float16"


def _built_for(architecture: str, built_for: tuple[str, ...]) -> bool:
    """A build runs on its architectures and on later ones of the same generation."""
    major, minor = _numbers(architecture)
    for built in built_for:
        other, least = _numbers(built)
        if other == major and least <= minor:
            return True
        if built.startswith("compute_") and (other, least) <= (major, minor):
            return True
    return not built_for


def _numbers(architecture: str) -> tuple[int, int]:
    digits = "".join(char for char in architecture.partition("_")[2] if char.isdigit())
    return int(digits[:-1] or 0), int(digits[-1:] or 0)


def facts_of(index: int) -> CudaFacts:
    """Look at device ``index`` of this machine; imports torch and starts CUDA."""
    import torch

    cuda = torch.version.cuda
    failure, devices, architecture, bfloat16 = None, 0, None, True
    built_for: tuple[str, ...] = ()
    if cuda is not None:
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
            devices = torch.cuda.device_count()
        except (RuntimeError, AssertionError) as error:
            failure = str(error) or type(error).__name__
        if index < devices:
            architecture = "sm_{}{}".format(*torch.cuda.get_device_capability(index))
            built_for = tuple(torch.cuda.get_arch_list())
            with torch.cuda.device(index):
                bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return CudaFacts(
        torch=str(torch.__version__),
        cuda=cuda,
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        driver=Path("/proc/driver/nvidia/version").exists()
        or Path("/usr/lib/wsl/lib/nvidia-smi").exists()
        or shutil.which("nvidia-smi") is not None,
        in_container=Path("/.dockerenv").exists() or Path("/run/.containerenv").exists(),
        failure=failure,
        devices=devices,
        architecture=architecture,
        built_for=built_for,
        bfloat16=bfloat16,
    )
