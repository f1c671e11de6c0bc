"""The presets at full size: shapes on tensors without memory, parameters against the listings."""

from __future__ import annotations

from math import prod

import pytest
import torch

from fast_vc_service.models.checkpoint import Table
from fast_vc_service.models.seedvc import bigvgan, dit_config, length_regulator
from fast_vc_service.models.seedvc.bigvgan import BigVgan
from fast_vc_service.models.seedvc.content import content_encoder
from fast_vc_service.models.seedvc.dit import DiT
from fast_vc_service.models.seedvc.dit_layers import Conditioning
from fast_vc_service.models.seedvc.length_regulator import LengthRegulator
from fast_vc_service.models.seedvc.presets import PRESETS
from fast_vc_service.models.seedvc.rmvpe import Rmvpe
from fast_vc_service.models.seedvc.sampler import Sampler, stacked
from tests.golden import build, weights

META = torch.device("meta")
PROMPT = 258


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
@torch.no_grad()
def test_a_window_has_its_shapes_at_full_size(name: str) -> None:
    """Two sessions, from 3 s of audio to mel and wave. HiFT is too small to need this."""
    preset = PRESETS[name]
    with META:
        content = content_encoder(preset.content).to(META).eval()
        regulator = LengthRegulator(preset.regulator).to(META)
        dit = DiT(preset.dit).to(META)
        pitch = Rmvpe()
        vocoder = None if preset.bigvgan is None else BigVgan(preset.bigvgan).to(META)
        audio = torch.zeros(2, 48_000)
    features = content(audio)
    frames = 2 * preset.mel.sample_rate // preset.mel.hop
    f0 = None
    if preset.regulator.f0_bins:
        salience = pitch(torch.zeros(2, 128, 201, device=META))
        assert salience.shape == (2, 201, 360)
        f0 = torch.zeros(2, 201, device=META)
    mu = regulator(features, torch.tensor([frames, frames]), f0)
    assert mu.shape == (2, frames, preset.dit.condition)

    def condition(count: int) -> Conditioning:
        mel = torch.zeros(2, preset.mel.bins, count, device=META)
        return dit.condition(mel, mu[:, :1].expand(-1, count, -1), torch.zeros(2, 192, device=META))

    prompt, source = condition(PROMPT), condition(frames)
    joined = Conditioning(torch.cat([prompt.frames, source.frames], dim=1), prompt.style)
    assert stacked([joined, joined]).frames.shape == (4, PROMPT + frames, preset.dit.width)
    for every in (1, 2):
        sampler = Sampler(dit, 2, 0.7, prompt_every=every)
        mel = sampler(torch.zeros(2, preset.mel.bins, frames, device=META), joined)
        assert mel.shape == (2, preset.mel.bins, frames)
    if vocoder is not None and preset.bigvgan is not None:
        assert preset.bigvgan.hop == preset.mel.hop
        assert vocoder(mel).shape == (2, frames * preset.mel.hop)
        assert vocoder(mel, 50).shape == (2, 50 * preset.mel.hop)


def parameters(network: torch.nn.Module) -> dict[str, int]:
    return {name: value.numel() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_every_entry_of_the_listing_has_its_place(name: str) -> None:
    preset = PRESETS[name]
    with META:
        networks: list[tuple[str, torch.nn.Module, Table]] = [
            (f"dit_{name}", DiT(preset.dit), dit_config.table(preset.dit)),
            (
                f"length_regulator_{name}",
                LengthRegulator(preset.regulator),
                length_regulator.TABLE,
            ),
        ]
        if preset.bigvgan is not None:
            listing = "bigvgan_22k" if name == "small" else "bigvgan_44k"
            networks.append((listing, BigVgan(preset.bigvgan), bigvgan.TABLE))
    for listing, network, table in networks:
        entries = weights.read_listing(build.LISTINGS / f"{build.LISTING[listing]}.tsv")
        ours = parameters(network)
        sizes: dict[str, int] = {}
        for entry, shape in entries.items():
            plain = entry.replace("weight_v", "weight")
            place = table.translate(plain)
            if place in ours and not entry.endswith("weight_g"):
                sizes[str(place)] = prod(shape)
        assert sizes == ours
