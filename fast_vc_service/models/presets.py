"""Published models: which files they are made of, where those are, and under which licence.

Sizes marked as about are worked out from the number of parameters. Where no hash is pinned here,
the one a file had when it was first downloaded is recorded and checked from then on.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedFile:
    """One file of a model hub's repository.

    Attributes:
        repository: ``owner/name``.
        name: Path in it.
        megabytes: Size in MB (10^6 bytes), about.
        licence: Of the weights, as their repository states it.
        revision: Branch or commit.
        sha256: Pinned hash; None where it is recorded at the first download.
    """

    repository: str
    name: str
    megabytes: int
    licence: str
    revision: str = "main"
    sha256: str | None = None

    @property
    def key(self) -> str:
        """What it is recorded as, and where it may lie in the models' folder."""
        return f"{self.repository}/{self.name}"


@dataclass(frozen=True)
class PublishedModel:
    """One engine's files, by what they are for."""

    name: str
    description: str
    files: dict[str, PublishedFile]

    @property
    def megabytes(self) -> int:
        """Size of all files."""
        return sum(file.megabytes for file in self.files.values())


CAMPPLUS = PublishedFile(
    "funasr/campplus",
    "campplus_cn_common.bin",
    28,
    "Apache-2.0",
    sha256="3388cf5fd3493c9ac9c69851d8e7a8badcfb4f3dc631020c4961371646d5ada8",
)
_WHISPER = PublishedFile("openai/whisper-small", "model.safetensors", 967, "Apache-2.0")
_SEED_VC = "Plachta/Seed-VC"

MODELS = {
    model.name: model
    for model in (
        PublishedModel(
            "seedvc-tiny",
            "live speech, 22.05 kHz",
            {
                "dit": PublishedFile(_SEED_VC, "DiT_uvit_tat_xlsr_ema.pth", 114, "GPL-3.0"),
                "content": PublishedFile(
                    "facebook/wav2vec2-xls-r-300m", "pytorch_model.bin", 1270, "Apache-2.0"
                ),
                "speaker": CAMPPLUS,
                "vocoder": PublishedFile("FunAudioLLM/CosyVoice-300M", "hift.pt", 82, "Apache-2.0"),
            },
        ),
        PublishedModel(
            "seedvc-small",
            "speech in files, 22.05 kHz",
            {
                "dit": PublishedFile(
                    _SEED_VC,
                    "DiT_seed_v2_uvit_whisper_small_wavenet_bigvgan_pruned.pth",
                    412,
                    "GPL-3.0",
                ),
                "content": _WHISPER,
                "speaker": CAMPPLUS,
                "vocoder": PublishedFile(
                    "nvidia/bigvgan_v2_22khz_80band_256x", "bigvgan_generator.pt", 449, "MIT"
                ),
            },
        ),
        PublishedModel(
            "seedvc-base",
            "singing, 44.1 kHz, with F0",
            {
                "dit": PublishedFile(
                    _SEED_VC,
                    "DiT_seed_v2_uvit_whisper_base_f0_44k_bigvgan_pruned_ft_ema_v2.pth",
                    786,
                    "GPL-3.0",
                ),
                "content": _WHISPER,
                "speaker": CAMPPLUS,
                "vocoder": PublishedFile(
                    "nvidia/bigvgan_v2_44khz_128band_512x", "bigvgan_generator.pt", 489, "MIT"
                ),
                "pitch": PublishedFile("lj1995/VoiceConversionWebUI", "rmvpe.pt", 181, "MIT"),
            },
        ),
    )
}
