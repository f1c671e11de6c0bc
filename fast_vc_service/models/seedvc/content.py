"""Content encoders: what is said, 50 frames a second, as pretrained speech models hear it.

The networks are those of ``transformers`` (the extra ``seedvc``); their weights come from the
published files, through a table like all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.audio.mel import MelSettings, filterbank
from fast_vc_service.errors import UserError
from fast_vc_service.models.checkpoint import Table

FRAME = 320
"""Samples at 16 kHz a frame."""

_WINDOW_S, _OVERLAP_S = 30, 5
_RATE = 16_000

_WHISPER_MEL = MelSettings(
    _RATE, window=400, hop=160, bins=80, low_hz=0.0, high_hz=8000.0, centred=True
)


@dataclass(frozen=True)
class ContentConfig:
    """Sizes of a content encoder.

    Attributes:
        kind: ``"xlsr"`` or ``"whisper"``.
        width: Channels of the features.
        heads: Attention heads.
        inner: Channels inside the feed-forward networks.
        layers: Layers of the transformer that are run.
    """

    kind: str
    width: int
    heads: int
    inner: int
    layers: int


XLSR_300M = ContentConfig("xlsr", width=1024, heads=16, inner=4096, layers=12)
WHISPER_SMALL = ContentConfig("whisper", width=768, heads=12, inner=3072, layers=12)

_XLSR_TABLE = Table(
    "XLS-R",
    {"wav2vec2.{*}": "network.{*}"},
    unused=(
        "wav2vec2.encoder.layers.{*}",  # those above the last one that is run
        "wav2vec2.masked_spec_embed",
        "quantizer.{*}",
        "project_q",
        "project_hid",
    ),
)
_WHISPER_TABLE = Table(
    "Whisper encoder",
    {"model.encoder.{*}": "network.{*}"},
    unused=("model.encoder.layers.{*}", "model.decoder.{*}", "proj_out"),
)


class Xlsr(nn.Module):
    """The lower layers of wav2vec 2.0 XLS-R, and its last layer norm."""

    def __init__(self, config: ContentConfig) -> None:
        super().__init__()
        transformers = _transformers()
        self.config = config
        self.network = transformers.Wav2Vec2Model(
            transformers.Wav2Vec2Config(
                hidden_size=config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=config.inner,
                feat_extract_norm="layer",
                conv_bias=True,
                do_stable_layer_norm=True,
                mask_time_prob=0.0,
                layerdrop=0.0,
            )
        )
        positions = self.network.encoder.pos_conv_embed.conv
        nn.utils.parametrize.remove_parametrizations(positions, "weight")

    def forward(self, audio: Tensor) -> Tensor:
        """Features ``[B, (samples - 400) // 320 + 1, width]`` of ``[B, samples]`` at 16 kHz."""
        variance, mean = torch.var_mean(audio, dim=1, keepdim=True, correction=0)
        normed = (audio - mean) / torch.sqrt(variance + 1e-7)
        features: Tensor = self.network(normed).last_hidden_state
        return features


class Whisper(nn.Module):
    """Whisper's encoder, which always hears 30 s: the clip and silence after it."""

    def __init__(self, config: ContentConfig) -> None:
        super().__init__()
        transformers = _transformers()
        self.config = config
        self.network = transformers.models.whisper.modeling_whisper.WhisperEncoder(
            transformers.WhisperConfig(
                d_model=config.width,
                encoder_layers=config.layers,
                encoder_attention_heads=config.heads,
                encoder_ffn_dim=config.inner,
            )
        )

    def forward(self, audio: Tensor) -> Tensor:
        """Features ``[B, samples // 320 + 1, width]`` of ``[B, samples]`` at 16 kHz, 30 s at most.

        At 30 s the encoder's 1500 frames are all there are.
        """
        features: Tensor = self.network(whisper_mel(audio)).last_hidden_state
        return features[:, : audio.shape[1] // FRAME + 1]


ContentEncoder = Xlsr | Whisper


def content_encoder(config: ContentConfig) -> ContentEncoder:
    """Make an encoder without weights.

    Raises:
        UserError: The extra ``seedvc`` is not installed.
    """
    return Xlsr(config) if config.kind == "xlsr" else Whisper(config)


def table(config: ContentConfig) -> Table:
    """Return the table of an encoder of this kind."""
    return _XLSR_TABLE if config.kind == "xlsr" else _WHISPER_TABLE


def encoded(encoder: ContentEncoder, audio: Tensor) -> Tensor:
    """Features of a clip of any length: in windows of 30 s that overlap by 5 s.

    Args:
        encoder: Of either kind.
        audio: ``[1, samples]`` at 16 kHz.

    Returns:
        ``[1, frames, width]``.
    """
    window, overlap = _WINDOW_S * _RATE, _OVERLAP_S * _RATE
    parts = [encoder(audio[:, :window])]
    start = window
    while start < audio.shape[1]:
        features = encoder(audio[:, start - overlap : start - overlap + window])
        parts.append(features[:, overlap // FRAME :])
        start += window - overlap
    return torch.cat(parts, dim=1)


def whisper_mel(audio: Tensor) -> Tensor:
    """Return Whisper's log-mel ``[B, 80, 3000]`` of ``[B, samples]``, 30 s at most, at 16 kHz."""
    window, filters = _whisper_constants(audio.device)
    padded = functional.pad(audio, (0, _WINDOW_S * _RATE - audio.shape[1]))
    spectrum = torch.stft(
        padded, _WHISPER_MEL.window, _WHISPER_MEL.hop, window=window, return_complex=True
    )[:, :, :-1]
    power = spectrum.real.square() + spectrum.imag.square()
    log_mel = torch.log10((filters @ power).clamp(min=1e-10))
    # At most 80 dB below the loudest.
    log_mel = torch.maximum(log_mel, log_mel.amax(dim=(1, 2), keepdim=True) - 8.0)
    return (log_mel + 4.0) / 4.0


@cache
def _whisper_constants(device: torch.device) -> tuple[Tensor, Tensor]:
    window = torch.hann_window(_WHISPER_MEL.window)
    return window.to(device), torch.from_numpy(filterbank(_WHISPER_MEL)).to(device)


def _transformers() -> Any:
    try:
        import transformers
        import transformers.models.wav2vec2
        import transformers.models.whisper.modeling_whisper
    except ImportError as error:
        raise UserError(
            "the engine seedvc needs the extra of that name: "
            f"pip install 'fast-vc-service[seedvc]' ({error})"
        ) from error
    return transformers
