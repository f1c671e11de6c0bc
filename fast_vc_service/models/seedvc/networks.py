"""The networks of one preset, together."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fast_vc_service.models.campplus import CampPlus
from fast_vc_service.models.seedvc.bigvgan import BigVgan
from fast_vc_service.models.seedvc.content import ContentEncoder
from fast_vc_service.models.seedvc.dit import DiT
from fast_vc_service.models.seedvc.hift import HiFT
from fast_vc_service.models.seedvc.length_regulator import LengthRegulator
from fast_vc_service.models.seedvc.presets import Preset
from fast_vc_service.models.seedvc.rmvpe import Rmvpe

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Networks:
    """Networks in eval mode on one device.

    Attributes:
        preset: Their sizes.
        content: Content encoder.
        regulator: Length regulator.
        dit: Transformer.
        speaker: Speaker encoder.
        vocoder: HiFT or BigVGAN.
        pitch: RMVPE for presets with F0, else None.
    """

    preset: Preset
    content: ContentEncoder
    regulator: LengthRegulator
    dit: DiT
    speaker: CampPlus
    vocoder: HiFT | BigVgan
    pitch: Rmvpe | None

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.dit.merge.weight.device

    def to(self, device: torch.device) -> Networks:
        """Return these on ``device``; the networks themselves move."""
        return replace(
            self,
            content=self.content.to(device),
            regulator=self.regulator.to(device),
            dit=self.dit.to(device),
            speaker=self.speaker.to(device),
            vocoder=self.vocoder.to(device),
            pitch=None if self.pitch is None else self.pitch.to(device),
        )

    def narrowed(self, dtype: torch.dtype) -> Networks:
        """Return these with the matrix products of their large networks in ``dtype``.

        That are linear layers and convolutions of content encoder, length regulator and
        transformer. Their norms stay in float32 and so does all of speaker encoder, vocoder and
        pitch network. Which layer computes in which type is said layer by layer, not left to
        ``torch.autocast``: that decides otherwise on a CPU than on a GPU.
        """
        return replace(
            self,
            content=_narrowed(self.content, dtype),
            regulator=_narrowed(self.regulator, dtype),
            dit=_narrowed(self.dit, dtype),
        )


def _narrowed(network: Network, dtype: torch.dtype) -> Network:
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            module.to(dtype)
        if isinstance(module, nn.Linear | nn.Conv1d | nn.LayerNorm | nn.GroupNorm):
            module.register_forward_pre_hook(_in_its_type)
    return network


def _in_its_type(layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    weight, x = layer.weight, arguments[0]
    assert isinstance(weight, Tensor)  # noqa: S101 - for the type checker
    return (x.to(weight.dtype), *arguments[1:])
