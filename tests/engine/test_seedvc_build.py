"""From files and settings to a converter whose networks come later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fast_vc_service.engine import seedvc
from fast_vc_service.models.checkpoint import CheckpointError
from fast_vc_service.models.hub import HubError
from fast_vc_service.models.presets import MODELS, PublishedFile
from fast_vc_service.models.seedvc.options import SeedVcOptions, SeedVcSource
from tests.models.test_seedvc_config import config, written


def placed(folder: Path, files: Mapping[str, PublishedFile], *but: str) -> SeedVcSource:
    """Put something at the place of each file but those for ``but``."""
    for use, file in files.items():
        if use not in but:
            path = folder / file.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"no checkpoint")
    return SeedVcSource(folder, folder / "hf", options=SeedVcOptions(steps=1))


def test_networks_are_loaded_when_they_are_needed(tmp_path: Path) -> None:
    source = placed(tmp_path, MODELS["seedvc-tiny"].files)
    converter = seedvc.build("seedvc-tiny", 200, "cpu", source)
    assert converter.sample_rate_out == 22_050
    assert converter.block == 3200
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        converter.make_voice("one", np.ones(16_000, np.float32), 16_000)


def test_voices_of_other_networks_are_told_apart(tmp_path: Path) -> None:
    source = placed(tmp_path, MODELS["seedvc-tiny"].files)
    checkpoint = tmp_path / "ft_model.pth"
    checkpoint.write_bytes(b"another")
    families = {
        seedvc.build("seedvc-tiny", block_ms, "cpu", changed).family
        for block_ms in (200, 400)
        for changed in (
            source,
            replace(source, options=replace(source.options, precision="bfloat16")),
            replace(source, options=replace(source.options, prompt_s=4.0)),
            replace(source, checkpoint=checkpoint),
        )
    }
    assert len(families) == 4


def test_an_own_checkpoint_makes_the_published_one_needless(tmp_path: Path) -> None:
    source = placed(tmp_path, MODELS["seedvc-tiny"].files, "dit")
    with pytest.raises(HubError, match="fast-vc models download seedvc-tiny"):
        seedvc.build("seedvc-tiny", 200, "cpu", source)
    own = replace(source, checkpoint=tmp_path / "ft_model.pth")
    with pytest.raises(ValueError, match="seedvc_checkpoint: there is no file"):
        seedvc.build("seedvc-tiny", 200, "cpu", own)
    (tmp_path / "ft_model.pth").write_bytes(b"own")
    assert seedvc.build("seedvc-tiny", 200, "cpu", own).sample_rate_out == 22_050


def test_a_configuration_says_which_files_are_needed(tmp_path: Path) -> None:
    source = placed(tmp_path, MODELS["seedvc-tiny"].files, "dit")
    (tmp_path / "ft_model.pth").write_bytes(b"own")
    path = written(tmp_path, config("base"))
    own = replace(source, checkpoint=tmp_path / "ft_model.pth", config=path)
    with pytest.raises(HubError) as error:
        seedvc.build("seedvc-tiny", 200, "cpu", own)
    assert "fast-vc models download seedvc-base" in str(error.value)
    for file in ("whisper-small", "bigvgan_v2_44khz", "rmvpe.pt"):
        assert file in str(error.value)
    placed(tmp_path, MODELS["seedvc-base"].files, "dit")
    assert seedvc.build("seedvc-tiny", 200, "cpu", own).sample_rate_out == 44_100


def test_each_device_keeps_its_networks(tmp_path: Path) -> None:
    source = placed(tmp_path, MODELS["seedvc-tiny"].files)

    def built(device: str) -> object:
        return seedvc.build("seedvc-tiny", 200, device, source)._model

    first, second = built("cuda:0"), built("cuda:1")
    assert first is not second
    assert built("cuda:0") is first
    assert built("cuda:1") is second


def test_compiling_for_cuda_needs_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = placed(tmp_path, MODELS["seedvc-tiny"].files)
    compiled = replace(source, options=replace(source.options, compile=True))
    assert seedvc.build("seedvc-tiny", 200, "cuda:0", compiled)
    monkeypatch.setattr(seedvc.shutil, "which", lambda _name: None)
    with pytest.raises(ValueError, match="seedvc_compile: expected a C compiler on cuda:0"):
        seedvc.build("seedvc-tiny", 200, "cuda:0", compiled)


def test_graphs_are_for_cuda(tmp_path: Path) -> None:
    source = placed(tmp_path, MODELS["seedvc-tiny"].files)
    graphs = replace(source, options=replace(source.options, cuda_graphs=True))
    with pytest.raises(ValueError, match="seedvc_cuda_graphs: expected false on cpu"):
        seedvc.build("seedvc-tiny", 200, "cpu", graphs)
