"""The networks of one preset, together."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import nn

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
        dtype: Of what runs under :meth:`autocast`.
    """

    preset: Preset
    content: ContentEncoder
    regulator: LengthRegulator
    dit: DiT
    speaker: CampPlus
    vocoder: HiFT | BigVgan
    pitch: Rmvpe | None
    dtype: torch.dtype = torch.float32

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.dit.merge.weight.device

    def autocast(self) -> AbstractContextManager[object]:
        """In which content encoder, length regulator and transformer are to run."""
        if self.dtype == torch.float32:
            return nullcontext()
        # Nothing to cache: the weights are of that type already.
        return torch.autocast(self.device.type, self.dtype, cache_enabled=False)

    def narrowed(self, dtype: torch.dtype) -> Networks:
        """Return these for autocast to ``dtype``, in which their weights are kept from now on.

        That holds for content encoder, length regulator and transformer; norms, speaker encoder,
        vocoder and pitch network stay as they are.
        """
        return replace(
            self,
            content=_narrowed(self.content, dtype),
            regulator=_narrowed(self.regulator, dtype),
            dit=_narrowed(self.dit, dtype),
            dtype=dtype,
        )


def _narrowed(network: Network, dtype: torch.dtype) -> Network:
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            module.to(dtype)
    return network
