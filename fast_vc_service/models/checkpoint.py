"""Published checkpoints: reading them safely and translating their names into ours.

A network has one table, ``{published name: our name}``. A name is that of a module or of a single
entry; ``{x}`` stands for a number, ``{x-1}`` or ``{x+2}`` on our side for a shifted one, and
``{*}`` for whatever follows.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from fast_vc_service.errors import UserError

_NUMBER = re.compile(r"\\\{(\w)\\\}")
_SHIFTED = re.compile(r"\{(\w)([+-]\d+)?\}")
_COUNTER = "num_batches_tracked"  # of batch norms: nothing computes with it
_SHOWN = 5


class CheckpointError(UserError):
    """A checkpoint cannot be read, or is not that of the network it is meant for."""


@dataclass(frozen=True)
class Table:
    """How the entries of a published state dict are named here.

    Attributes:
        network: What the checkpoint holds, for messages.
        names: Published module or entry to ours; see the module's docstring.
        unused: Published modules or entries that take no part in the forward pass and may be
            absent.
    """

    network: str
    names: Mapping[str, str]
    unused: Sequence[str] = ()

    def translate(self, name: str) -> str | None:
        """Return our name of the published entry ``name``, None if the table has none."""
        for pattern, ours in self.names.items():
            match = _regex(pattern).fullmatch(name)
            if match:
                return _filled(ours, match) + (match["leaf"] or "")
        return None

    def knows_unused(self, name: str) -> bool:
        """Return whether ``name`` is one of the entries that nothing computes with."""
        return name.rsplit(".", 1)[-1] == _COUNTER or any(
            _regex(pattern).fullmatch(name) for pattern in self.unused
        )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU: safetensors, or a ``.pth`` that holds nothing but tensors.

    Raises:
        CheckpointError: Missing, damaged, or a pickle with more in it than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is no readable checkpoint: {_line(error)}") from error
    except (safetensors.SafetensorError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is no readable checkpoint: {_line(error)}") from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: expected named tensors, got {type(loaded).__name__}")
    return loaded


def load_published(network: nn.Module, published: Mapping[str, Tensor], table: Table) -> list[str]:
    """Load a published state dict into ``network``, whatever float type it is kept in.

    Weight-normalised pairs are folded into plain weights; a leading ``module.`` is dropped.

    Returns:
        The names left over: entries the table does not know, which are not loaded.

    Raises:
        CheckpointError: An entry is missing, comes twice, or has another shape.
    """
    wanted = network.state_dict()
    found: dict[str, Tensor] = {}
    wrong: list[str] = []
    left_over: list[str] = []
    for name, tensor in folded(published).items():
        ours = table.translate(name)
        if ours is None or ours not in wanted:
            if not table.knows_unused(name):
                left_over.append(name)
        elif tensor.shape != wanted[ours].shape:
            wrong.append(f"{name} is {list(tensor.shape)}, expected {list(wanted[ours].shape)}")
        elif ours in found:
            wrong.append(f"{name} comes twice")
        else:
            found[ours] = tensor
    missing = [name for name in wanted if name not in found and not name.endswith(_COUNTER)]
    if wrong:
        raise CheckpointError(f"{table.network}: {_some(wrong)}")
    if missing:
        raise CheckpointError(
            f"{table.network}: {len(missing)} of {len(wanted)} entries are missing: "
            + _some(missing)
        )
    network.load_state_dict(found, strict=False)
    return left_over


def folded(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return plain weights: ``g * v / ||v||`` a pair, the norm over the axes where g has one."""
    plain: dict[str, Tensor] = {}
    pairs: dict[str, dict[str, Tensor]] = {}
    for published_name, tensor in published.items():
        name = published_name.removeprefix("module.")
        for part, ending in _PAIR_ENDINGS:
            if name.endswith(ending):
                pairs.setdefault(name.removesuffix(ending) + ".weight", {})[part] = tensor
                break
        else:
            plain[name] = tensor
    for name, pair in pairs.items():
        if len(pair) != len("gv"):
            raise CheckpointError(f"{name}: one half of the weight-normalised pair is missing")
        v, g = pair["v"].float(), pair["g"].float()
        others = [axis for axis, size in enumerate(g.shape) if size == 1]
        plain[name] = v * (g / torch.linalg.vector_norm(v, dim=others, keepdim=True))
    return plain


_PAIR_ENDINGS = (
    ("g", ".weight_g"),
    ("v", ".weight_v"),
    ("g", ".parametrizations.weight.original0"),
    ("v", ".parametrizations.weight.original1"),
)


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    escaped = re.escape(pattern).replace(re.escape("{*}"), "(?P<rest>.+)")
    return re.compile(_NUMBER.sub(r"(?P<\1>\\d+)", escaped) + r"(?P<leaf>\.[^.]+)?")


def _filled(ours: str, match: re.Match[str]) -> str:
    if "{*}" in ours:
        ours = ours.replace("{*}", match["rest"])
    return _SHIFTED.sub(lambda place: str(int(match[place[1]]) + int(place[2] or 0)), ours)


def _some(items: Iterable[str]) -> str:
    shown = list(items)
    rest = len(shown) - _SHOWN
    return "; ".join(shown[:_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
