"""Half precision: close to float32 on every kind of input, and finite on silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fast_vc_service.audio.files import read_audio
from fast_vc_service.contract import FloatArray
from tests.seedvc_networks import QUICK, model

SPEECH = Path(__file__).parents[2] / "wavs" / "sources" / "british-male-16k.wav"
SAMPLES = 19_200
LARGEST_ERROR = {"bfloat16": 0.05, "float16": 0.01}
PRODUCTS = {functional.linear, functional.conv1d, torch.conv1d, functional.conv_transpose1d}


class _AsOnATensorCore(TorchFunctionMode):
    """Half-precision products summed in float32: what a GPU does, at a CPU's pace."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS and args[1].dtype in (torch.float16, torch.bfloat16):
            wide = [arg.float() if isinstance(arg, torch.Tensor) else arg for arg in args]
            more = {
                name: arg.float() if isinstance(arg, torch.Tensor) else arg
                for name, arg in (kwargs or {}).items()
            }
            return func(*wide, **more).to(args[1].dtype)
        return func(*args, **(kwargs or {}))


def windows() -> dict[str, FloatArray]:
    speech, _ = read_audio(SPEECH)
    noise = np.random.default_rng(0).standard_normal(SAMPLES).astype(np.float32)
    return {
        "silence": np.zeros(SAMPLES, np.float32),
        "noise at -60 dBFS": 1e-3 * noise,
        "full scale": np.clip(noise, -1.0, 1.0),
        "speech": speech[16_000 : 16_000 + SAMPLES],
    }


@torch.inference_mode()
def mels(name: str, precision: str) -> dict[str, torch.Tensor]:
    subject = model(name, replace(QUICK, precision=precision))
    voice = model(name).make_voice("one", windows()["full scale"], 16_000)
    memory = subject.new_memory(voice, 0.0, 1)
    made = {}
    for kind, window in windows().items():
        audio = torch.from_numpy(window[None].copy())
        f0_hz = None if subject.networks.pitch is None else subject.networks.pitch.f0(audio)
        made[kind] = subject._mel(audio, SAMPLES, 60, memories=[memory], ends=[20_000], f0_hz=f0_hz)
    return made


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_the_mel_stays_close_whatever_is_heard(name: str) -> None:
    exact = mels(name, "float32")
    for precision, largest in LARGEST_ERROR.items():
        with _AsOnATensorCore():
            halved = mels(name, precision)
        for kind, mel in halved.items():
            assert mel.dtype == torch.float32
            assert torch.isfinite(mel).all(), (precision, kind)
            error = (mel - exact[kind]).square().mean().sqrt()
            assert error <= largest * exact[kind].square().mean().sqrt(), (precision, kind)
