"""Configurations of fine-tuned and other networks: the training program's YAML becomes a preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from fast_vc_service.audio.mel import MelSettings
from fast_vc_service.models.presets import (
    BIGVGAN_FILES,
    CAMPPLUS,
    CONTENT_FILES,
    HIFT_FILE,
    PITCH_FILE,
    PublishedFile,
)
from fast_vc_service.models.seedvc.bigvgan import BIGVGAN_22K, BIGVGAN_44K, BigVganConfig
from fast_vc_service.models.seedvc.content import WHISPER_SMALL, XLSR_300M, ContentConfig
from fast_vc_service.models.seedvc.dit_config import DitConfig
from fast_vc_service.models.seedvc.length_regulator import RegulatorConfig
from fast_vc_service.models.seedvc.presets import Preset

_CONTENTS = {
    "facebook/wav2vec2-xls-r-300m": XLSR_300M,
    "openai/whisper-small": WHISPER_SMALL,
}
_BIGVGANS = {
    "nvidia/bigvgan_v2_22khz_80band_256x": BIGVGAN_22K,
    "nvidia/bigvgan_v2_44khz_128band_512x": BIGVGAN_44K,
}
_HIFT_MELS = (22_050, 256, 80)


class _Section:
    """One mapping of the file; every complaint names the file and the key."""

    def __init__(self, path: Path, name: str, values: object) -> None:
        if not isinstance(values, Mapping):
            raise ValueError(f"{path}: expected keys under {name!r}, got {values!r}")
        self._path, self._name, self._values = path, name, values

    def section(self, key: str) -> _Section:
        return _Section(self._path, self._full(key), self._values.get(key))

    def number(self, key: str) -> int:
        value = self._values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(
                f"{self._path}: {self._full(key)}: expected a positive whole number, got {value!r}"
            )
        return value

    def flag(self, key: str) -> bool:
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise ValueError(
                f"{self._path}: {self._full(key)}: expected true or false, got {value!r}"
            )
        return value

    def value(self, key: str) -> Any:
        return self._values.get(key)

    def one_of(self, key: str, known: Mapping[str, Any]) -> str:
        value = self._values.get(key)
        if value not in known:
            raise ValueError(
                f"{self._path}: {self._full(key)}: expected one of {', '.join(known)}; "
                f"got {value!r}"
            )
        return str(value)

    def must_be(self, key: str, wanted: object, default: object = None) -> None:
        """Refuse what the networks here cannot do."""
        value = self._values.get(key, wanted if default is None else default)
        if value != wanted:
            raise ValueError(
                f"{self._path}: {self._full(key)}: only {wanted!r} is supported, got {value!r}"
            )

    def _full(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key


def read_config(path: Path) -> tuple[Preset, dict[str, PublishedFile]]:
    """Read a configuration as the published system writes them.

    Returns:
        The networks' sizes, and the published files that go with the transformer by what they are
        for: ``content``, ``speaker``, ``vocoder`` and, with F0, ``pitch``.

    Raises:
        ValueError: No such file, a value that is missing or wrong, or networks not known here.
    """
    try:
        loaded = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    root = _Section(path, "", loaded)
    params = root.section("model_params")
    params.must_be("dit_type", "DiT")
    mel = _mel(root.section("preprocess_params"))

    tokenizer = params.section("speech_tokenizer")
    encoder = tokenizer.one_of("name", _CONTENTS)
    content = _content(tokenizer, _CONTENTS[encoder])
    regulator = _regulator(params.section("length_regulator"), content)
    vocoder, bigvgan = _vocoder(params.section("vocoder"), mel, path)
    params.section("style_encoder").must_be("dim", 192)
    preset = Preset(path.stem, mel, content, regulator, _dit(params, mel, regulator), bigvgan)
    files = {"content": CONTENT_FILES[encoder], "speaker": CAMPPLUS, "vocoder": vocoder}
    if regulator.f0_bins:
        files["pitch"] = PITCH_FILE
    return preset, files


def _mel(section: _Section) -> MelSettings:
    spectrum = section.section("spect_params")
    rate, window = section.number("sr"), spectrum.number("n_fft")
    spectrum.must_be("win_length", window)
    # The published system takes every limit but none for 8000.
    unlimited = spectrum.value("fmax") in (None, "None")
    spectrum.must_be("fmin", 0)
    return MelSettings(
        rate,
        window=window,
        hop=spectrum.number("hop_length"),
        bins=spectrum.number("n_mels"),
        low_hz=0.0,
        high_hz=rate / 2 if unlimited else 8000.0,
    )


def _content(section: _Section, config: ContentConfig) -> ContentConfig:
    section.must_be("type", config.kind)
    if config.kind == "xlsr":
        return replace(config, layers=section.number("output_layer"))
    return config


def _regulator(section: _Section, content: ContentConfig) -> RegulatorConfig:
    section.must_be("is_discrete", wanted=False)
    section.must_be("vector_quantize", wanted=False)
    section.must_be("sampling_ratios", [1, 1, 1, 1])
    section.must_be("in_channels", content.width)
    bins = section.number("n_f0_bins") if section.flag("f0_condition") else 0
    return RegulatorConfig(content.width, section.number("channels"), bins)


def _dit(params: _Section, mel: MelSettings, regulator: RegulatorConfig) -> DitConfig:
    section = params.section("DiT")
    section.must_be("in_channels", mel.bins)
    section.must_be("content_dim", regulator.channels)
    section.must_be("is_causal", wanted=False)
    section.must_be("zero_prompt_speech_token", wanted=False)
    section.must_be("style_condition", wanted=True)
    tokens = section.flag("time_as_token")
    section.must_be("style_as_token", tokens, default=False)
    width, heads = section.number("hidden_dim"), section.number("num_heads")
    if width != 64 * heads:
        section.must_be("num_heads", width // 64)
    last = section.one_of("final_layer_type", {"mlp": 0, "wavenet": 0})
    if last == "wavenet":
        wavenet = params.section("wavenet")
        wavenet.must_be("hidden_dim", width)
        wavenet.must_be("num_layers", 8)
        wavenet.must_be("kernel_size", 5)
        wavenet.must_be("dilation_rate", 1)
    return DitConfig(
        mels=mel.bins,
        width=width,
        heads=heads,
        depth=section.number("depth"),
        condition=regulator.channels,
        tokens=tokens,
        skips=section.flag("uvit_skip_connection"),
        long_skip=section.flag("long_skip_connection"),
        wavenet=width if last == "wavenet" else 0,
    )


def _vocoder(
    section: _Section, mel: MelSettings, path: Path
) -> tuple[PublishedFile, BigVganConfig | None]:
    if section.one_of("type", {"hifigan": 0, "bigvgan": 0}) == "hifigan":
        if (mel.sample_rate, mel.hop, mel.bins) != _HIFT_MELS:
            raise ValueError(
                f"{path}: model_params.vocoder: hifigan wants 22050 Hz, a hop of 256 and 80 mels"
            )
        return HIFT_FILE, None
    name = section.one_of("name", _BIGVGANS)
    config = _BIGVGANS[name]
    if (mel.hop, mel.bins) != (config.hop, config.mels):
        raise ValueError(
            f"{path}: model_params.vocoder: {name} wants a hop of {config.hop} and "
            f"{config.mels} mels"
        )
    return BIGVGAN_FILES[name], config
