"""Configurations in the training program's form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fast_vc_service.models.seedvc.config import read_config
from fast_vc_service.models.seedvc.options import SeedVcSource
from fast_vc_service.models.seedvc.presets import PRESETS

HIFIGAN = {"type": "hifigan"}
XLSR = {"type": "xlsr", "output_layer": 12, "name": "facebook/wav2vec2-xls-r-300m"}
WHISPER = {"type": "whisper", "name": "openai/whisper-small"}


def bigvgan(name: str) -> dict[str, str]:
    return {"type": "bigvgan", "name": f"nvidia/bigvgan_v2_{name}"}


def config(name: str) -> dict[str, Any]:
    """What is in the published files, the keys of training left out."""
    tiny, base = name == "tiny", name == "base"
    width = {"tiny": 384, "small": 512, "base": 768}[name]
    return {
        "log_dir": "./runs/",
        "preprocess_params": {
            "sr": 44_100 if base else 22_050,
            "spect_params": {
                "n_fft": 2048 if base else 1024,
                "win_length": 2048 if base else 1024,
                "hop_length": 512 if base else 256,
                "n_mels": 128 if base else 80,
                "fmin": 0,
                "fmax": 8000 if tiny else "None",
            },
        },
        "model_params": {
            "dit_type": "DiT",
            "reg_loss_type": "l1",
            "vocoder": HIFIGAN
            if tiny
            else bigvgan("44khz_128band_512x" if base else "22khz_80band_256x"),
            "speech_tokenizer": XLSR if tiny else WHISPER,
            "style_encoder": {"dim": 192, "campplus_path": "campplus_cn_common.bin"},
            "length_regulator": {
                "channels": width,
                "is_discrete": False,
                "in_channels": 1024 if tiny else 768,
                "content_codebook_size": 2048,
                "sampling_ratios": [1, 1, 1, 1],
                "vector_quantize": False,
                "n_codebooks": 1,
                "f0_condition": base,
                "n_f0_bins": 256 if base else 512,
            },
            "DiT": {
                "hidden_dim": width,
                "num_heads": width // 64,
                "depth": {"tiny": 9, "small": 13, "base": 17}[name],
                "in_channels": 128 if base else 80,
                "style_condition": True,
                "final_layer_type": "wavenet" if name == "small" else "mlp",
                "content_dim": width,
                "is_causal": False,
                "long_skip_connection": name == "small",
                "zero_prompt_speech_token": False,
                "time_as_token": tiny,
                "style_as_token": tiny,
                "uvit_skip_connection": True,
            },
            "wavenet": {
                "hidden_dim": 768 if base else 512,
                "num_layers": 8,
                "kernel_size": 5,
                "dilation_rate": 1,
                "style_condition": True,
            },
        },
    }


def written(folder: Path, content: object) -> Path:
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_a_published_configuration_is_its_preset(tmp_path: Path, name: str) -> None:
    preset, files = read_config(written(tmp_path, config(name)))
    assert preset == replace(PRESETS[name], name="config")
    assert ("pitch" in files) == (name == "base")
    assert "dit" not in files
    assert files["content"].repository == config(name)["model_params"]["speech_tokenizer"]["name"]


def test_encoders_vocoders_and_sizes_combine_freely(tmp_path: Path) -> None:
    mixed = config("small")
    params = mixed["model_params"]
    params["speech_tokenizer"] = XLSR | {"output_layer": 18}
    params["length_regulator"]["in_channels"] = 1024
    params["DiT"] |= {"depth": 7, "final_layer_type": "mlp", "uvit_skip_connection": False}
    preset, files = read_config(written(tmp_path, mixed))
    assert preset.content.layers == 18
    assert preset.dit.depth == 7
    assert not preset.dit.skips
    assert not preset.dit.wavenet
    assert files["vocoder"].repository.startswith("nvidia/")
    assert files["content"].repository == XLSR["name"]


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("DiT", {"is_causal": True}, r"model_params\.DiT\.is_causal: only False is supported"),
        ("DiT", {"depth": 0}, r"DiT\.depth: expected a positive whole number, got 0"),
        ("DiT", {"num_heads": 5}, r"DiT\.num_heads: only 6 is supported, got 5"),
        ("DiT", {"style_as_token": False}, r"style_as_token: only True is supported"),
        ("DiT", {"content_dim": 512}, r"content_dim: only 384 is supported, got 512"),
        ("DiT", {"uvit_skip_connection": "yes"}, "expected true or false, got 'yes'"),
        ("speech_tokenizer", {"name": "some/hubert"}, r"name: expected one of facebook/wav2vec2"),
        ("speech_tokenizer", {"type": "whisper"}, r"type: only 'xlsr' is supported"),
        ("vocoder", {"type": "fargan"}, r"vocoder\.type: expected one of hifigan, bigvgan"),
        ("vocoder", bigvgan("44khz_128band_512x"), "wants a hop of 512 and 128 mels"),
        ("length_regulator", {"vector_quantize": True}, "vector_quantize: only False"),
    ],
)
def test_what_cannot_be_done_is_named(
    tmp_path: Path, section: str, change: dict[str, object], message: str
) -> None:
    content = config("tiny")
    content["model_params"][section] = content["model_params"][section] | change
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=message) as error:
        read_config(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["- a list", "model_params: 3", "a: [", ""])
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"config\.yml: "):
        read_config(path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_config(tmp_path / "nothing.yml")


def test_a_configuration_wants_a_checkpoint() -> None:
    with pytest.raises(ValueError, match="seedvc_config: expected with seedvc_checkpoint"):
        SeedVcSource(config=Path("config.yml"))
