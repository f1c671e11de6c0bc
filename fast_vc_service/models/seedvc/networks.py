"""The networks of one preset, together."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fast_vc_service.models.campplus import CampPlus
from fast_vc_service.models.seedvc.bigvgan import BigVgan
from fast_vc_service.models.seedvc.content import ContentEncoder
from fast_vc_service.models.seedvc.dit import DiT
from fast_vc_service.models.seedvc.hift import HiFT
from fast_vc_service.models.seedvc.length_regulator import LengthRegulator
from fast_vc_service.models.seedvc.presets import Preset
from fast_vc_service.models.seedvc.rmvpe import Rmvpe


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
