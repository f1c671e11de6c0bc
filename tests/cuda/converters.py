"""Converters on pretended devices, and what one step of each asks of its device."""

from __future__ import annotations

import copy
import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from fast_vc_service.audio.files import read_audio
from fast_vc_service.contract import Converter, Voice
from fast_vc_service.engine.seedvc import geometry
from fast_vc_service.engine.window import WindowConverter
from fast_vc_service.models.nano.converter import NanoConverter
from fast_vc_service.models.nano.load import WEIGHTS, load_networks
from fast_vc_service.models.seedvc.model import SeedVcModel
from fast_vc_service.models.seedvc.networks import Networks
from fast_vc_service.models.seedvc.options import SeedVcOptions
from tests import seedvc_networks
from tests.cuda.pretended import Run, audio, pretended

TABLE = Path(__file__).with_name("counts.json")
CLIP = Path(__file__).parents[2] / "wavs" / "references" / "alto.wav"
CASES = (
    "nano float32",
    *(
        f"seedvc-{name} {precision}"
        for name in ("tiny", "small", "base")
        for precision in ("float32", "bfloat16", "float16")
    ),
)
ROWS = 3
"""Sessions of a step: one, and as many as this."""


@cache
def clip() -> tuple[Any, int]:
    """Three seconds of speech, and its rate."""
    samples, rate = read_audio(CLIP)
    return samples[: 3 * rate], rate


@cache
def nano_voice() -> Voice:
    """Made on the CPU, as voices are in the service."""
    converter = NanoConverter(load_networks(WEIGHTS, torch.device("cpu")))
    return converter.make_voice("alto", *clip())


def seedvc_model(
    name: str, options: SeedVcOptions, device: torch.device | None, networks: Networks | None = None
) -> SeedVcModel:
    """The model over small networks, which are copied: on a device they have no numbers."""
    here = networks or seedvc_networks.networks(name)
    parts = ("content", "regulator", "dit", "speaker", "vocoder", "pitch")
    copied = {part: copy.deepcopy(getattr(here, part)) for part in parts}
    return SeedVcModel(replace(here, **copied), options, f"seedvc-{name}", device)


def built(case: str, device: str, **options: Any) -> Converter:
    """The converter of a case, built inside :func:`.pretended`."""
    engine, precision = case.split()
    place = torch.device(device)
    if engine == "nano":
        return NanoConverter(load_networks(WEIGHTS, place))
    chosen = {"gate": True, **options}
    own = replace(seedvc_networks.QUICK, precision=precision, **chosen)
    model = seedvc_model(engine.removeprefix("seedvc-"), own, place)
    return WindowConverter(model, geometry(own, 200), high_passed=True)


def voice_of(case: str, converter: Converter) -> Voice:
    """A voice for it; one of ``nano`` is made on the CPU."""
    if case.startswith("nano"):
        return nano_voice()
    return converter.make_voice("one", *clip())


def steps(case: str, device: str, **options: Any) -> dict[int, Run]:
    """By rows, the run of a step after those that make constants."""
    with pretended():
        converter = built(case, device, **options)
        voice = voice_of(case, converter)
        states = [converter.new_state(voice, 1.0, seed) for seed in range(2 * ROWS)]
        converter.step(audio(converter.block / 16_000, 1), states[:1])
    runs = {}
    for rows in (1, ROWS) if case.endswith("float32") else (ROWS,):
        # Not side by side: as sessions are that came and went.
        chosen = states[: 2 * rows : 2]
        with pretended() as run:
            converter.step(audio(converter.block / 16_000, rows), chosen)
        runs[rows] = run
    return runs


def counted(run: Run) -> dict[str, Any]:
    """What the table says of a run."""
    waits: Counter[str] = Counter()
    for (_, where), count in run.waits.items():
        waits[where.partition(":")[0]] += count
    return {"dispatches": run.dispatches, "waits": dict(sorted(waits.items()))}


def table() -> dict[str, Any]:
    """What is allowed, by case and rows."""
    allowed: dict[str, Any] = json.loads(TABLE.read_text())
    return allowed


def write_table() -> None:
    """Write what the code asks of its devices now."""
    found = {
        f"{case}, {rows} rows": counted(run)
        for case in CASES
        for rows, run in steps(case, "cuda:1").items()
    }
    TABLE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    write_table()
