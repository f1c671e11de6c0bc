"""From published checkpoints to networks in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import safetensors.torch
from loguru import logger
from torch import Tensor, nn

from fast_vc_service.models import campplus
from fast_vc_service.models.checkpoint import (
    CheckpointError,
    Table,
    load_published,
    read_checkpoint,
)
from fast_vc_service.models.hub import sha256_of
from fast_vc_service.models.seedvc import (
    bigvgan,
    content,
    dit_config,
    hift,
    length_regulator,
    rmvpe,
)
from fast_vc_service.models.seedvc.dit import DiT
from fast_vc_service.models.seedvc.networks import Networks
from fast_vc_service.models.seedvc.presets import Preset

Network = TypeVar("Network", bound=nn.Module)


def load_networks(preset: Preset, files: Mapping[str, Path], converted_dir: Path) -> Networks:
    """Load all networks of ``preset``, on the CPU.

    Args:
        preset: Their sizes.
        files: Published files for ``dit``, ``content``, ``speaker``, ``vocoder`` and, for a
            preset with F0, ``pitch``.
        converted_dir: Where each file that is no safetensors is kept as one from then on.

    Raises:
        CheckpointError: A file cannot be read or is not that of its network.
    """
    states = {use: tensors_of(path, converted_dir) for use, path in files.items()}

    def made(make: Callable[[], Network], use: str, table: Table, inside: str = "") -> Network:
        state = {
            name.removeprefix(inside): tensor
            for name, tensor in states[use].items()
            if name.startswith(inside)
        }
        network = make()
        left_over = load_published(network, state, table)
        if left_over:
            shown = ", ".join(left_over[:5])
            logger.warning(
                "{}: {} entries are not known and not used: {}", files[use], len(left_over), shown
            )
        return network.eval()

    vocoder: hift.HiFT | bigvgan.BigVgan
    if preset.bigvgan is None:
        vocoder = made(hift.HiFT, "vocoder", hift.TABLE)
    else:
        config = preset.bigvgan
        vocoder = made(lambda: bigvgan.BigVgan(config), "vocoder", bigvgan.TABLE)
    encoder = made(
        lambda: content.content_encoder(preset.content), "content", content.table(preset.content)
    )
    return Networks(
        preset=preset,
        content=encoder,
        regulator=made(
            lambda: length_regulator.LengthRegulator(preset.regulator),
            "dit",
            length_regulator.TABLE,
            "length_regulator.",
        ),
        dit=made(lambda: DiT(preset.dit), "dit", dit_config.table(preset.dit), "cfm."),
        speaker=made(campplus.CampPlus, "speaker", campplus.TABLE),
        vocoder=vocoder,
        pitch=made(rmvpe.Rmvpe, "pitch", rmvpe.TABLE) if preset.regulator.f0_bins else None,
    )


def tensors_of(path: Path, converted_dir: Path) -> dict[str, Tensor]:
    """Return a published file's tensors by name; one that is no safetensors is converted once.

    Of a training checkpoint the names are ``cfm.…`` and ``length_regulator.…``.

    Raises:
        CheckpointError: It cannot be read, or holds no tensors where they should be.
    """
    if path.suffix == ".safetensors":
        return read_checkpoint(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    converted = converted_dir / f"{path.stem}-{sha256_of(path)[:16]}.safetensors"
    if not converted.is_file():
        tensors = _flat(read_checkpoint(path), path)
        converted_dir.mkdir(parents=True, exist_ok=True)
        unfinished = converted.with_suffix(f".{os.getpid()}")
        safetensors.torch.save_file(tensors, unfinished)
        unfinished.replace(converted)
    return read_checkpoint(converted)


def _flat(loaded: Mapping[str, object], path: Path) -> dict[str, Tensor]:
    """Take the networks out of a checkpoint, each tensor with memory of its own."""
    if "net" in loaded:
        networks = loaded["net"]
        if not isinstance(networks, Mapping):
            raise CheckpointError(f"{path}: expected networks under 'net'")
        wanted = {
            f"{network}.{str(name).removeprefix('module.')}": tensor
            for network in ("cfm", "length_regulator")
            for name, tensor in networks.get(network, {}).items()
        }
    else:
        inner = loaded.get("generator", loaded)
        wanted = dict(inner) if isinstance(inner, Mapping) else {}
    tensors = {
        name: value.detach().clone().contiguous()
        for name, value in wanted.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors")
    return tensors
