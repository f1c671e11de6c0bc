"""Seed-VC's networks in small sizes with generated weights, for tests of everything above them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TypeVar

import torch
from torch import nn

from fast_vc_service.engine.seedvc import geometry
from fast_vc_service.engine.window import WindowConverter
from fast_vc_service.models.campplus import CampPlus
from fast_vc_service.models.seedvc.bigvgan import BigVgan
from fast_vc_service.models.seedvc.content import ContentConfig, content_encoder
from fast_vc_service.models.seedvc.dit import DiT
from fast_vc_service.models.seedvc.hift import HiFT
from fast_vc_service.models.seedvc.length_regulator import LengthRegulator
from fast_vc_service.models.seedvc.model import SeedVcModel
from fast_vc_service.models.seedvc.networks import Networks
from fast_vc_service.models.seedvc.options import SeedVcOptions
from fast_vc_service.models.seedvc.presets import BASE, SMALL, TINY, Preset
from fast_vc_service.models.seedvc.rmvpe import Rmvpe
from tests.golden import weights

Network = TypeVar("Network", bound=nn.Module)

QUICK = SeedVcOptions(steps=2, prompt_s=1.0, context_ms=800, gate=False)


def small(preset: Preset) -> Preset:
    """``preset`` with few channels and layers, and all its peculiarities."""
    width = 128 if preset.dit.wavenet or preset.dit.tokens else 192
    content = ContentConfig(preset.content.kind, width=32, heads=2, inner=48, layers=1)
    bigvgan = preset.bigvgan and replace(preset.bigvgan, width=64)
    return replace(
        preset,
        content=content,
        regulator=replace(preset.regulator, content=32, channels=48),
        dit=replace(
            preset.dit,
            width=width,
            heads=width // 64,
            depth=5,
            condition=48,
            wavenet=preset.dit.wavenet and width,
        ),
        bigvgan=bigvgan,
    )


def filled(network: Network) -> Network:
    """Fill with the golden vectors' rule under our own names."""
    state = {
        name: torch.from_numpy(array)
        for name, array in weights.state_dict(
            {name: tuple(value.shape) for name, value in network.state_dict().items()}
        ).items()
    }
    network.load_state_dict(state, strict=False)
    return network.eval()


@cache
def networks(name: str) -> Networks:
    """Small networks of a preset."""
    preset = small({"tiny": TINY, "small": SMALL, "base": BASE}[name])
    torch.manual_seed(0)
    return Networks(
        preset=preset,
        content=content_encoder(preset.content).eval(),
        regulator=filled(LengthRegulator(preset.regulator)),
        dit=filled(DiT(preset.dit)),
        speaker=filled(CampPlus()),
        vocoder=filled(BigVgan(preset.bigvgan) if preset.bigvgan else HiFT(64)),
        pitch=filled(Rmvpe(2, 8)) if preset.regulator.f0_bins else None,
    )


def model(name: str, options: SeedVcOptions = QUICK) -> SeedVcModel:
    """The window model over small networks."""
    return SeedVcModel(networks(name), options, f"seedvc-{name}")


def converter(name: str, options: SeedVcOptions = QUICK, block_ms: int = 200) -> WindowConverter:
    """A stream of it."""
    return WindowConverter(model(name, options), geometry(options, block_ms))
