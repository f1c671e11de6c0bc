"""Small nano networks with random weights: enough to check what must hold for any weights."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from fast_vc_service.models.campplus import CampPlus
from fast_vc_service.models.nano.acoustic import Acoustic, AcousticConfig
from fast_vc_service.models.nano.content import ContentConfig, ContentEncoder
from fast_vc_service.models.nano.f0_tracker import F0Tracker, F0TrackerConfig
from fast_vc_service.models.nano.load import Networks
from fast_vc_service.models.nano.vocoder import Vocoder, VocoderConfig


def shaken(network: nn.Module, std: float = 0.2) -> nn.Module:
    """Away from the first weights, whose zeros would hide differences."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=std)
    return network.eval().requires_grad_(requires_grad=False)


def content() -> ContentEncoder:
    network = shaken(ContentEncoder(ContentConfig(phones=12, width=32, blocks=4)))
    assert isinstance(network, ContentEncoder)
    return network


def f0_tracker() -> F0Tracker:
    network = shaken(F0Tracker(F0TrackerConfig(width=16)))
    assert isinstance(network, F0Tracker)
    return network


def acoustic() -> Acoustic:
    config = AcousticConfig(width=32, blocks=4, attention=16, flow_width=24, flow_blocks=2)
    network = shaken(Acoustic(config))
    assert isinstance(network, Acoustic)
    return network


def vocoder() -> Vocoder:
    network = shaken(Vocoder(VocoderConfig(width=32, blocks=3)), 0.05)
    assert isinstance(network, Vocoder)
    return network


def networks(seed: int = 0) -> Networks:
    torch.manual_seed(seed)
    encoder = content()
    speaker = CampPlus().eval()
    device = torch.device("cpu")
    return Networks(encoder, f0_tracker(), acoustic(), vocoder(), encoder, speaker, device)


def save(folder: Path, made: Networks) -> None:
    """As the recipe exports them."""
    files = {name: name for name in ("content", "acoustic", "vocoder")} | {"f0_tracker": "melody"}
    for name, file in files.items():
        network = getattr(made, name)
        settings = json.dumps({"config": asdict(network.config)})
        tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(tensors, folder / f"{file}.safetensors", {"settings": settings})
