"""Published models: which files they are made of, where those are, and under which licence.

Where no hash is pinned here, the one a file had when it was first downloaded is recorded and
checked from then on.
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
        licence: Of the weights, as far as known; docs/models.md says on what ground.
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
_XLSR = PublishedFile(
    "facebook/wav2vec2-xls-r-300m",
    "pytorch_model.bin",
    1270,
    "Apache-2.0",
    sha256="d5e490574712ad0a6736923b9ed11d4cd51c78609c36205f704fc4e87b11d2e0",
)
_WHISPER = PublishedFile(
    "openai/whisper-small",
    "model.safetensors",
    967,
    "Apache-2.0",
    sha256="1d7734884874f1a1513ed9aa760a4f8e97aaa02fd6d93a3a85d27b2ae9ca596b",
)
HIFT_FILE = PublishedFile("FunAudioLLM/CosyVoice-300M", "hift.pt", 82, "Apache-2.0")
_BIGVGAN_22K = PublishedFile(
    "nvidia/bigvgan_v2_22khz_80band_256x", "bigvgan_generator.pt", 449, "MIT"
)
_BIGVGAN_44K = PublishedFile(
    "nvidia/bigvgan_v2_44khz_128band_512x",
    "bigvgan_generator.pt",
    489,
    "MIT",
    sha256="d9fe7ec6bd0b44ed9d66973d5012d8181c1570b01e5c72df51973e241dccd357",
)
PITCH_FILE = PublishedFile("lj1995/VoiceConversionWebUI", "rmvpe.pt", 181, "MIT")

CONTENT_FILES = {file.repository: file for file in (_XLSR, _WHISPER)}
"""Content encoders by the name that configurations give them."""
BIGVGAN_FILES = {file.repository: file for file in (_BIGVGAN_22K, _BIGVGAN_44K)}
"""BigVGAN vocoders by the name that configurations give them."""
_SEED_VC = "Plachta/Seed-VC"

MODELS = {
    model.name: model
    for model in (
        PublishedModel(
            "seedvc-tiny",
            "live speech, 22.05 kHz",
            {
                "dit": PublishedFile(_SEED_VC, "DiT_uvit_tat_xlsr_ema.pth", 114, "GPL-3.0"),
                "content": _XLSR,
                "speaker": CAMPPLUS,
                "vocoder": HIFT_FILE,
            },
        ),
        PublishedModel(
            "seedvc-small",
            "speech in files, 22.05 kHz",
            {
                "dit": PublishedFile(
                    _SEED_VC,
                    "DiT_seed_v2_uvit_whisper_small_wavenet_bigvgan_pruned.pth",
                    440,
                    "GPL-3.0",
                    revision="7bdd5167c96c7ec71b6f11e38ce5a385b64ff157",
                    sha256="8ec8841b20bb46df9f7e8e570a6946a4b87b940133c7f0e778487ff33841f720",
                ),
                "content": _WHISPER,
                "speaker": CAMPPLUS,
                "vocoder": _BIGVGAN_22K,
            },
        ),
        PublishedModel(
            "seedvc-base",
            "singing, 44.1 kHz, with F0",
            {
                "dit": PublishedFile(
                    _SEED_VC,
                    "DiT_seed_v2_uvit_whisper_base_f0_44k_bigvgan_pruned_ft_ema_v2.pth",
                    821,
                    "GPL-3.0",
                    revision="e739416cc539bf5f4f8ecfbb9441d53f27a56a1b",
                    sha256="42aef93ffe65857c840d270252fa040f7ba04514945ec460f3ac1ac2a96de684",
                ),
                "content": _WHISPER,
                "speaker": CAMPPLUS,
                "vocoder": _BIGVGAN_44K,
                "pitch": PITCH_FILE,
            },
        ),
    )
}
