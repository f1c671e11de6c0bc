from __future__ import annotations

import pytest
import torch
from torch import nn

from fast_vc_service.models.nano.layers import FEW_FRAMES, ConvBlock
from fast_vc_service.models.nano.packed import PackedLinear, available, pack

CPU = torch.device("cpu")


@pytest.mark.skipif(not available(CPU), reason="this build of PyTorch has no packed kernel")
def test_packed_layers_do_the_same() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Linear(64, 96), nn.GELU(), nn.Sequential(nn.Linear(96, 32, bias=False))
    )
    for layer in (network[0], network[2][0]):
        layer.weight.data = layer.weight.data.half().float()  # as shipped
    x = torch.randn(2, 5, 64)
    with torch.inference_mode():
        wanted = network(x)
        made = pack(network)(x)
    assert not any(isinstance(module, nn.Linear) for module in network.modules())
    assert isinstance(network[2][0], PackedLinear)
    assert made.shape == wanted.shape
    assert (made - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_other_devices_keep_their_layers() -> None:
    assert not available(torch.device("meta"))


def test_few_frames_are_filtered_as_many_are() -> None:
    torch.manual_seed(2)
    block = ConvBlock(8, 7)
    x = torch.randn(2, 2 * FEW_FRAMES, 8)
    first = torch.zeros(2, dtype=torch.long)
    with torch.inference_mode():
        whole, cache, out = block(x), torch.zeros(2, block.cache_frames, 8), []
        for piece in x.split(4, 1):
            made, cache = block.stream(piece, cache, first)
            out.append(made)
    assert torch.allclose(torch.cat(out, 1), whole, atol=1e-6)
