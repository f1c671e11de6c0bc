"""Networks from their safetensors files; sizes are written in each file's header."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from torch import nn

from fast_vc_service.models.campplus import CampPlus, load_campplus
from fast_vc_service.models.checkpoint import CheckpointError
from fast_vc_service.models.nano import packed
from fast_vc_service.models.nano.acoustic import Acoustic, AcousticConfig
from fast_vc_service.models.nano.content import ContentConfig, ContentEncoder
from fast_vc_service.models.nano.f0_tracker import F0Tracker, F0TrackerConfig
from fast_vc_service.models.nano.packed import pack
from fast_vc_service.models.nano.vocoder import Vocoder, VocoderConfig

WEIGHTS = Path(__file__).parent / "weights"
"""The weights that ship with the package."""

Network = TypeVar("Network", bound=nn.Module)


class WeightsError(ValueError):
    """A weights file is missing, damaged, or not of the network it should be of."""


def _load(path: Path, config_type: type[Any], build: Callable[[Any], Network]) -> Network:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    try:
        stored = json.loads(metadata["settings"])["config"]
        known = {field.name for field in fields(config_type)}
        network = build(config_type(**{key: stored[key] for key in known & stored.keys()}))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, json.JSONDecodeError, RuntimeError) as error:
        raise WeightsError(f"{path} is not what was expected: {error}") from error
    return network.eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True)
class Networks:
    """All that ``nano`` needs, loaded.

    Attributes:
        content, f0_tracker, acoustic, vocoder: On ``device``, for sessions.
        reader: The content encoder on the CPU, for references.
        campplus: On the CPU, for references.
        device: Where sessions run.
        traced: Whether their steps run as graphs, see :mod:`graph`.
    """

    content: ContentEncoder
    f0_tracker: F0Tracker
    acoustic: Acoustic
    vocoder: Vocoder
    reader: ContentEncoder
    campplus: CampPlus
    device: torch.device
    traced: bool = False


def load_networks(folder: Path, device: torch.device) -> Networks:
    """Load ``content``, ``melody``, ``acoustic``, ``vocoder`` and ``campplus.safetensors``.

    Raises:
        WeightsError: One is missing, damaged or of something else.
    """
    reader = load_content(folder / "content.safetensors")
    try:
        campplus = load_campplus(folder / "campplus.safetensors")
    except CheckpointError as error:
        raise WeightsError(str(error)) from error

    def ready(network: Network) -> Network:
        return pack(network) if packed.available(device) else network.to(device)

    return Networks(
        ready(load_content(folder / "content.safetensors")),
        ready(load_f0_tracker(folder / "melody.safetensors")),
        ready(load_acoustic(folder / "acoustic.safetensors")),
        ready(load_vocoder(folder / "vocoder.safetensors")),
        reader,
        campplus,
        device,
        traced=device.type == "cpu",
    )


def load_content(path: Path) -> ContentEncoder:
    """The content encoder.

    Raises:
        WeightsError: see there.
    """
    return _load(path, ContentConfig, ContentEncoder)


def load_f0_tracker(path: Path) -> F0Tracker:
    """The pitch tracker.

    Raises:
        WeightsError: see there.
    """
    return _load(path, F0TrackerConfig, F0Tracker)


def load_acoustic(path: Path) -> Acoustic:
    """The acoustic model.

    Raises:
        WeightsError: see there.
    """
    return _load(path, AcousticConfig, Acoustic)


def load_vocoder(path: Path) -> Vocoder:
    """The vocoder.

    Raises:
        WeightsError: see there.
    """
    return _load(path, VocoderConfig, Vocoder)
