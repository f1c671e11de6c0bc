"""The published presets: sizes of all networks, by name."""

from __future__ import annotations

from dataclasses import dataclass

from fast_vc_service.audio.mel import MelSettings
from fast_vc_service.models.seedvc.bigvgan import BIGVGAN_22K, BIGVGAN_44K, BigVganConfig
from fast_vc_service.models.seedvc.content import WHISPER_SMALL, XLSR_300M, ContentConfig
from fast_vc_service.models.seedvc.dit_config import DitConfig
from fast_vc_service.models.seedvc.length_regulator import RegulatorConfig


@dataclass(frozen=True)
class Preset:
    """One published set of networks that belong together.

    Attributes:
        name: ``"tiny"``, ``"small"`` or ``"base"``.
        mel: Of prompt and output.
        content: Content encoder.
        regulator: Length regulator.
        dit: Transformer.
        bigvgan: Vocoder; None for HiFT.
    """

    name: str
    mel: MelSettings
    content: ContentConfig
    regulator: RegulatorConfig
    dit: DitConfig
    bigvgan: BigVganConfig | None = None


TINY = Preset(
    "tiny",
    MelSettings(22_050, window=1024, hop=256, bins=80, low_hz=0.0, high_hz=8000.0),
    XLSR_300M,
    RegulatorConfig(content=1024, channels=384),
    DitConfig(mels=80, width=384, heads=6, depth=9, condition=384, tokens=True),
)
SMALL = Preset(
    "small",
    MelSettings(22_050, window=1024, hop=256, bins=80, low_hz=0.0, high_hz=11_025.0),
    WHISPER_SMALL,
    RegulatorConfig(content=768, channels=512),
    DitConfig(mels=80, width=512, heads=8, depth=13, condition=512, long_skip=True, wavenet=512),
    BIGVGAN_22K,
)
BASE = Preset(
    "base",
    MelSettings(44_100, window=2048, hop=512, bins=128, low_hz=0.0, high_hz=22_050.0),
    WHISPER_SMALL,
    RegulatorConfig(content=768, channels=768, f0_bins=256),
    DitConfig(mels=128, width=768, heads=12, depth=17, condition=768),
    BIGVGAN_44K,
)

PRESETS = {preset.name: preset for preset in (TINY, SMALL, BASE)}
