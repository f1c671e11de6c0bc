"""Weights that are still being trained, through the service's own live path.

On the command line of the evaluation: ``training.evaluation.candidate:system`` for the run below
ROOT, ``training.evaluation.candidate:start`` for what ``training/start`` holds.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch

from fast_vc_service.models.nano import converter as nano
from fast_vc_service.models.nano.load import (
    WEIGHTS,
    load_acoustic,
    load_content,
    load_networks,
)
from training.evaluation.systems import System, of_converter


def of_weights(name: str, folder: Path) -> System:
    """The shipped pitch tracker and vocoder around ``content`` and ``acoustic.safetensors``."""
    content, acoustic = (folder / f"{part}.safetensors" for part in ("content", "acoustic"))
    networks = replace(
        load_networks(WEIGHTS, torch.device("cpu")),
        content=load_content(content),
        reader=load_content(content),
        acoustic=load_acoustic(acoustic),
    )
    digest = hashlib.sha256(content.read_bytes() + acoustic.read_bytes())
    for path in sorted(Path(nano.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return of_converter(name, nano.NanoConverter(networks), digest.hexdigest()[:12])


def system(root: Path) -> System:
    """The latest averaged weights below ``root``."""
    return of_weights("candidate", root / "acoustic")


def start(_root: Path) -> System:
    """What training starts from."""
    return of_weights("start", Path(__file__).parents[1] / "start")
