"""What each step of the Seed-VC engine gains over recomputing every window.

    python -m benchmarks.seedvc --preset tiny --batch 1 --batch 4

Networks of full size with random weights, one thread, one run. The baseline does what a
window-by-window program does: for each session on its own it encodes the window, runs the
transformer on prompt and window with all its projections in every step of the sampler, and vocodes
every frame. The prompt's own features are kept even there. Each row adds one step to the one
before, and is compared with the baseline on the audio that is kept, given the same noise and
phases. Times are CPU time a block of all sessions, so that other programs do not show in them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn.functional import pad

from benchmarks import tables
from benchmarks.results import RESULTS, save
from benchmarks.rtf import REFERENCE, speech
from fast_vc_service.audio.files import read_audio
from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray, Voice
from fast_vc_service.engine.seedvc import geometry
from fast_vc_service.models.campplus import CampPlus
from fast_vc_service.models.seedvc import hift
from fast_vc_service.models.seedvc.bigvgan import BigVgan
from fast_vc_service.models.seedvc.content import content_encoder
from fast_vc_service.models.seedvc.dit import DiT
from fast_vc_service.models.seedvc.length_regulator import LengthRegulator
from fast_vc_service.models.seedvc.model import SeedVcMemory, SeedVcModel
from fast_vc_service.models.seedvc.networks import Networks
from fast_vc_service.models.seedvc.noise import noise_at
from fast_vc_service.models.seedvc.options import SeedVcOptions
from fast_vc_service.models.seedvc.presets import PRESETS
from fast_vc_service.models.seedvc.rmvpe import Rmvpe

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def random_networks(name: str) -> Networks:
    """Return networks of full size with the weights they are born with."""
    preset = PRESETS[name]
    torch.manual_seed(0)
    return Networks(
        preset=preset,
        content=content_encoder(preset.content).eval(),
        regulator=LengthRegulator(preset.regulator).eval(),
        dit=DiT(preset.dit).eval(),
        speaker=CampPlus().eval(),
        vocoder=(BigVgan(preset.bigvgan) if preset.bigvgan else hift.HiFT()).eval(),
        pitch=Rmvpe().eval() if preset.regulator.f0_bins else None,
    )


class EveryFrame(SeedVcModel):
    """Our model, but vocoding all frames of the window."""

    def __init__(self, model: SeedVcModel) -> None:
        super().__init__(model.networks, model.options, model.family)
        self._margin = 1 << 20


class Recomputing(EveryFrame):
    """The baseline: nothing is kept between the sampler's steps, for one session of ``voice``."""

    def __init__(self, model: SeedVcModel, voice: Voice) -> None:
        super().__init__(model)
        self._voice = voice

    def _mel(
        self,
        audio: Tensor,
        seen: int,
        frames: int,
        *,
        memories: Sequence[SeedVcMemory],
        ends: Sequence[int],
        f0_hz: Tensor | None,
    ) -> Tensor:
        networks, options = self.networks, self.options
        content = networks.content(audio)[:, (audio.shape[1] - seen) // 320 :]
        mu = networks.regulator(content, torch.tensor([frames]), f0_hz)
        prompt_mel, prompt_mu, style = (
            torch.from_numpy(np.asarray(self._voice.features[key], np.float32))[None]
            for key in ("mel", "condition", "style")
        )
        length = prompt_mel.shape[2]
        mu = torch.cat([prompt_mu, mu], dim=1)
        hop = networks.preset.mel.hop
        first = (ends[0] - frames * hop + hop // 2) // hop
        noise = noise_at(memories[0].seed, first, frames, networks.preset.mel.bins)
        x = pad(torch.from_numpy(noise)[None], (length, 0))
        prompt = pad(prompt_mel, (0, frames))
        lengths = torch.tensor([length + frames])
        none = torch.zeros_like
        for step in range(options.steps):
            at = torch.tensor([step / options.steps] * 2)
            given, free = networks.dit(
                torch.cat([x, x]),
                torch.cat([prompt, none(prompt)]),
                lengths,
                at,
                style=torch.cat([style, none(style)]),
                mu=torch.cat([mu, none(mu)]),
            )
            x = x + (given + options.guidance * (given - free)) / options.steps
            x[:, :, :length] = 0.0
        return x[:, :, length:]


def measure(name: str, block_ms: int, batches: list[int], options: SeedVcOptions) -> dict[str, Any]:
    """Time the ladder of one preset."""
    model = SeedVcModel(random_networks(name), options, f"seedvc-{name}")
    voice = model.make_voice("benchmark", *read_audio(REFERENCE))
    shape = geometry(options, block_ms)
    audio = speech((shape.window + 20 * 320) / SAMPLE_RATE_IN + 0.1, SAMPLE_RATE_IN)
    kept = math.ceil((shape.block + shape.right) * model.sample_rate_out / SAMPLE_RATE_IN)

    def run(subject: SeedVcModel, rows: int, *, together: bool) -> tuple[FloatArray, float]:
        memories = [subject.new_memory(voice, 0.0, row) for row in range(rows)]
        windows = np.stack([audio[row * 320 : row * 320 + shape.window] for row in range(rows)])
        parts = [slice(0, rows)] if together else [slice(row, row + 1) for row in range(rows)]
        began = time.process_time()
        outs = [
            subject.convert(
                windows[part],
                shape.block,
                shape.right,
                memories[part],
                [row * 320 for row in range(rows)][part],
            )[0]
            for part in parts
        ]
        return np.concatenate(outs), 1e3 * (time.process_time() - began)

    ladder: list[tuple[str, Callable[[], SeedVcModel], bool]] = [
        ("window by window", lambda: Recomputing(model, voice), False),
        ("+ sampler keeps", lambda: EveryFrame(model), False),
        ("+ kept frames vocoded", lambda: model, False),
        ("+ one batch", lambda: model, True),
    ]
    rows: list[dict[str, Any]] = []
    run(model, 1, together=True)  # tables, filters and thread pools are made
    for batch in batches:
        baseline: FloatArray | None = None
        for title, make, together in ladder:
            out, cpu_ms = run(make(), batch, together=together)
            baseline = out if baseline is None else baseline
            error = float(np.abs(out[:, -kept:] - baseline[:, -kept:]).max())
            rows.append({"step": title, "batch": batch, "cpu_ms": cpu_ms, "max_error": error})
            typer.echo(
                f"{name} batch {batch} {title}: {cpu_ms:.0f} ms, error {error:.1e}", err=True
            )
    return {"preset": name, "block_ms": block_ms, "steps": options.steps, "rows": rows}


@app.command()
def main(
    preset: Annotated[list[str], typer.Option(help="tiny, small or base; may be repeated.")],
    batch: Annotated[list[int], typer.Option(help="Sessions; may be repeated.")],
    block_ms: Annotated[int, typer.Option(help="Block in ms.")] = 500,
    steps: Annotated[int, typer.Option(help="Steps of the sampler.")] = 10,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
) -> None:
    """Measure the ladder of presets on one thread."""
    torch.set_num_threads(1)
    options = SeedVcOptions(steps=steps, gate=False)
    found = [measure(name, block_ms, batch, options) for name in preset]
    path = save("seedvc", output, threads=1, presets=found)
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
