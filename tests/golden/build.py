"""Our networks with the synthetic weights of the golden vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fast_vc_service.models.checkpoint import Table, load_published
from tests.golden import weights

LISTINGS = Path(__file__).parent.parent / "data" / "golden" / "listings"

LISTING = {
    "dit_tiny": "dit_tiny",
    "dit_small": "dit_small",
    "dit_base": "dit_base_f0_44k",
    "length_regulator_tiny": "length_regulator_tiny",
    "length_regulator_small": "length_regulator_small",
    "length_regulator_base": "length_regulator_base_f0_44k",
    "bigvgan_22k": "bigvgan_v2_22khz_80band_256x",
    "bigvgan_44k": "bigvgan_v2_44khz_128band_512x",
}
"""Listing of each network."""

Network = TypeVar("Network", bound=nn.Module)


def published(listing: str) -> dict[str, Tensor]:
    """Generated entries of a network, under the names its checkpoint has."""
    return generated(weights.read_listing(LISTINGS / f"{listing}.tsv"))


def generated(shapes: Mapping[str, Iterable[int]]) -> dict[str, Tensor]:
    """Generated entries of these names and shapes."""
    return {name: torch.from_numpy(array) for name, array in weights.state_dict(shapes).items()}


def filled(network: Network, listing: str, table: Table) -> Network:
    """Load the generated entries through the network's own table; nothing may be left over."""
    left_over = load_published(network, published(listing), table)
    if left_over:
        raise AssertionError(f"{listing}: the table does not know {left_over}")
    return network.eval()


def outputs(network: nn.Module, *names: str) -> dict[str, Tensor]:
    """Catch what the named modules return at their next call, by name."""
    caught: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    for name in names:

        def catch(_: nn.Module, __: object, output: Any, name: str = name) -> None:
            # Of a layer of the transformer the keys come second.
            first = output[0] if isinstance(output, tuple) else output
            caught[name] = first.detach().clone()

        if name:
            modules[name].register_forward_hook(catch)
    return caught
