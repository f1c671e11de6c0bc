from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fast_vc_service.models.checkpoint import (
    CheckpointError,
    Table,
    folded,
    load_published,
    read_checkpoint,
)

TABLE = Table("two layers", {"layer{i}": "{i-1}"}, unused=("head",))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))


def entries() -> dict[str, torch.Tensor]:
    return {
        f"layer{int(name[0]) + 1}{name[1:]}": torch.full_like(tensor, 0.5)
        for name, tensor in network().state_dict().items()
    }


def test_numbers_are_shifted_and_unknown_entries_reported() -> None:
    ours = network()
    left_over = load_published(
        ours, entries() | {"head.weight": torch.zeros(1), "layer3.weight": torch.zeros(1)}, TABLE
    )
    assert left_over == ["layer3.weight"]
    assert all((tensor == 0.5).all() for tensor in ours.state_dict().values())


def test_the_prefix_of_data_parallel_training_is_dropped() -> None:
    prefixed = {f"module.{name}": tensor for name, tensor in entries().items()}
    assert load_published(network(), prefixed, TABLE) == []


def test_the_same_entry_twice_is_refused() -> None:
    with pytest.raises(CheckpointError, match="comes twice"):
        load_published(
            network(),
            entries() | {"again1.weight": torch.zeros(2, 3)},
            Table("two layers", {"layer{i}": "{i-1}", "again{i}": "{i-1}"}),
        )


@pytest.mark.parametrize("transposed", [False, True])
def test_both_spellings_of_weight_norm_fold_to_what_torch_computes(transposed: bool) -> None:
    kind = nn.ConvTranspose1d if transposed else nn.Conv1d
    layer = nn.utils.parametrizations.weight_norm(kind(4, 6, 3))
    layer.parametrizations.weight.original0.data.uniform_(0.5, 2)
    new = {f"conv.{name}": tensor for name, tensor in layer.state_dict().items()}
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in new.items()
    }
    for published in (new, old):
        plain = folded(published)
        assert set(plain) == {"conv.weight", "conv.bias"}
        assert torch.allclose(plain["conv.weight"], layer.weight, atol=1e-6)


def test_half_a_pair_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"conv\.weight: one half"):
        folded({"conv.weight_g": torch.ones(1, 1, 1)})


def test_a_pickle_with_code_in_it_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": Path("surprise")}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        read_checkpoint(tmp_path / "evil.pth")


def test_what_is_no_checkpoint_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("text.pth", "text.safetensors", "empty.pth"):
        with pytest.raises(CheckpointError, match="no readable checkpoint") as raised:
            read_checkpoint(tmp_path / name)
        assert "\n" not in str(raised.value)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="got list"):
        read_checkpoint(tmp_path / "list.pth")


def test_weight_norm_over_the_last_axis_folds_too() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 3), dim=2)
    layer.parametrizations.weight.original0.data.uniform_(0.5, 2)
    plain = folded({f"conv.{name}": tensor for name, tensor in layer.state_dict().items()})
    assert torch.allclose(plain["conv.weight"], layer.weight, atol=1e-6)


def test_a_star_stands_for_whatever_follows() -> None:
    table = Table("nested", {"model.encoder.{*}": "{*}"}, unused=("model.decoder.{*}",))
    published = {f"model.encoder.{name}": value for name, value in network().state_dict().items()}
    ours = network()
    assert load_published(ours, published | {"model.decoder.a.b.c": torch.ones(1)}, table) == []
    assert torch.equal(ours[0].weight, published["model.encoder.0.weight"])
