"""Published files, from a hub on loopback to audio."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from typer.testing import CliRunner

from fast_vc_service import cli
from fast_vc_service.engine import seedvc
from fast_vc_service.engine.stream import convert_offline
from fast_vc_service.models import presets
from fast_vc_service.models.checkpoint import CheckpointError
from fast_vc_service.models.hub import Hub, model_named
from fast_vc_service.models.seedvc.content import content_encoder
from fast_vc_service.models.seedvc.load import load_networks, tensors_of
from fast_vc_service.models.seedvc.options import SeedVcOptions, SeedVcSource
from fast_vc_service.models.seedvc.presets import PRESETS
from tests.golden import build
from tests.models.fake_hub import fake_hub

PREFIX = {"xlsr": "wav2vec2.", "whisper": "model.encoder."}


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def published_dit(preset: str) -> dict[str, object]:
    """A training checkpoint as it is published: nested, prefixed, with more in it than networks."""
    return {
        "net": {
            "cfm": {
                f"module.{name}": tensor
                for name, tensor in build.published(build.LISTING[f"dit_{preset}"]).items()
            },
            "length_regulator": build.published(build.LISTING[f"length_regulator_{preset}"]),
        },
        "iters": 7,
    }


def published_content(preset: str) -> dict[str, torch.Tensor]:
    config = PRESETS[preset].content
    torch.manual_seed(0)
    state = content_encoder(config).state_dict()
    prefix = PREFIX[config.kind]
    return {prefix + name.removeprefix("network."): value for name, value in state.items()}


def published_files(preset: str, with_content: bool) -> dict[str, bytes]:
    files = presets.MODELS[f"seedvc-{preset}"].files
    speaker = build.published("campplus")
    contents: dict[str, object] = {
        "dit": published_dit(preset),
        "speaker": {
            k.replace("dense.", "xvector.dense.", 1) if k.startswith("dense.") else k: v
            for k, v in speaker.items()
        },
    }
    if preset == "tiny":
        contents["vocoder"] = build.published("hift")
    else:
        listing = build.LISTING["bigvgan_22k" if preset == "small" else "bigvgan_44k"]
        contents["vocoder"] = {"generator": build.published(listing)}
    if preset == "base":
        contents["pitch"] = build.published("rmvpe")
    data = {files[use].key: saved(content) for use, content in contents.items()}
    if with_content:
        content = published_content(preset)
        name = files["content"].key
        data[name] = (
            safetensors.torch.save(content) if name.endswith(".safetensors") else saved(content)
        )
    return data


@pytest.fixture
def unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let generated files stand for those whose hashes are pinned."""
    for model in presets.MODELS.values():
        for use, file in model.files.items():
            monkeypatch.setitem(model.files, use, replace(file, revision="main", sha256=None))


def test_a_training_checkpoint_is_converted_once(tmp_path: Path) -> None:
    path = tmp_path / "dit.pth"
    content = {
        "net": {
            "cfm": {"module.estimator.a": torch.ones(2)},
            "length_regulator": {"b": torch.ones(1)},
        },
        "optimizer": {"lr": 1.0},
    }
    path.write_bytes(saved(content))
    tensors = tensors_of(path, tmp_path / "converted")
    assert set(tensors) == {"cfm.estimator.a", "length_regulator.b"}
    [converted] = (tmp_path / "converted").iterdir()
    before = converted.stat().st_mtime_ns
    assert set(tensors_of(path, tmp_path / "converted")) == set(tensors)
    assert converted.stat().st_mtime_ns == before


def test_what_holds_no_tensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.pth").write_bytes(saved({"net": {}}))
    with pytest.raises(CheckpointError, match="holds no tensors"):
        tensors_of(tmp_path / "config.pth", tmp_path)


@pytest.mark.usefixtures("unpinned")
def test_the_files_of_tiny_come_from_the_hub_and_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transformer, speaker encoder and vocoder at full size; the content encoder by hand."""
    monkeypatch.setenv("FAST_VC_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    with fake_hub(published_files("tiny", with_content=False)) as hub:
        hub.files["facebook/wav2vec2-xls-r-300m/pytorch_model.bin"] = b"a gigabyte"
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        done = CliRunner().invoke(cli.app, ["models", "download", "seedvc-tiny"])
        assert done.exit_code == 0, done.output
    listed = CliRunner().invoke(cli.app, ["models", "list", "--json"])
    tiny = json.loads(listed.stdout)["models"][0]
    assert all(file["path"] for file in tiny["files"])
    assert CliRunner().invoke(cli.app, ["models", "verify", "seedvc-tiny"]).exit_code == 0

    files = dict(
        Hub(tmp_path / "checkpoints", tmp_path / "hf", None).paths(model_named("seedvc-tiny").files)
    )
    for use in ("dit", "speaker", "vocoder"):
        assert tensors_of(files[use], tmp_path / "converted")


@pytest.mark.slow
@pytest.mark.usefixtures("unpinned")
@pytest.mark.parametrize("preset", ["tiny", "small", "base"])
def test_a_whole_preset_comes_from_the_hub_and_converts(
    tmp_path: Path, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"seedvc-{preset}"
    with fake_hub(published_files(preset, with_content=True)) as hub:
        Hub(tmp_path, tmp_path / "hf", hub.url).download(model_named(name))
    options = SeedVcOptions(steps=1, prompt_s=1.0, context_ms=500, gate=False)
    source = SeedVcSource(tmp_path, tmp_path / "hf", options=options)
    converter = seedvc.build(name, 200, "cpu", source)
    noise = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    voice = converter.make_voice("one", noise, 16_000)
    # Short enough for one block: Whisper hears 30 s each time.
    out = convert_offline(converter, voice, noise[:1600], 16_000, 16_000)
    assert out.shape == (1600,)
    assert np.isfinite(out).all()
    assert np.abs(out).max() > 1e-4


def test_files_of_another_preset_are_told_apart(tmp_path: Path) -> None:
    place = tmp_path / "dit.pth"
    place.write_bytes(saved(published_dit("tiny")))
    files: Mapping[str, Path] = dict.fromkeys(("dit", "content", "speaker", "vocoder"), place)
    with pytest.raises(CheckpointError, match="entries are missing"):
        load_networks(PRESETS["tiny"], files, tmp_path / "converted")
