"""Every reason for which a first owner of a GPU cannot use it is said with what to try."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fast_vc_service.process.cuda import CudaFacts, facts_of, why_no_bfloat16, why_unusable

GOOD = CudaFacts(
    "2.13.0", "13.0", devices=1, architecture="sm_90", built_for=("sm_75", "sm_80", "sm_90")
)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cuda": None}, "CPU build; try `make setup GPU=1`"),
        ({"visible": ""}, "CUDA_VISIBLE_DEVICES hides every GPU; try `unset"),
        ({"driver": False}, "no NVIDIA driver; try `nvidia-smi`"),
        ({"driver": False, "in_container": True}, "without a GPU; try `docker run --gpus all"),
        (
            {"failure": "The NVIDIA driver on your system is too old (found version 11040)."},
            "driver is too old for CUDA 13.0",
        ),
        ({"failure": "CUDA error: unknown error"}, "CUDA error: unknown error; try `nvidia-smi`"),
        ({"devices": 0}, "there are 0 CUDA devices"),
        ({"architecture": "sm_61"}, "has no code for this GPU (sm_61; it has sm_75"),
    ],
)
def test_each_reason_is_told_apart(change: dict[str, object], told: str) -> None:
    why = why_unusable(replace(GOOD, **change), 0)  # type: ignore[arg-type]
    assert why is not None
    assert told in why
    assert "try `" in why or "try a build" in why


def test_what_can_be_used_needs_no_words() -> None:
    assert why_unusable(GOOD, 0) is None
    assert why_unusable(GOOD, 1) is not None
    for later, built_for in (("sm_86", ("sm_80",)), ("sm_120", ("compute_90",))):
        assert why_unusable(replace(GOOD, architecture=later, built_for=built_for), 0) is None


def test_bfloat16_by_emulation_is_not_bfloat16() -> None:
    assert why_no_bfloat16(GOOD) is None
    assert "FAST_VC_SEEDVC_PRECISION=float16" in str(why_no_bfloat16(replace(GOOD, bfloat16=False)))


def test_this_machine_is_looked_at() -> None:
    facts = facts_of(0)
    assert facts.torch
    assert (facts.devices > 0) <= (facts.cuda is not None)
