"""What each step of the Seed-VC engine gains over recomputing every window.

    python -m benchmarks.seedvc --preset tiny --batch 1 --batch 2 --batch 4 --batch 8

Networks of full size with random weights, one thread, one run. The baseline recomputes everything
for each session on its own: the prompt's features, the window's, the transformer on prompt and
window with all its projections and the two guidance branches one after the other in every step of
the sampler, and every frame's audio. Each row adds one step to the one before; the settings at the
end are added to the last exact row one by one.

Errors are those against the baseline, given the same noise and phases: the largest of the audio
that is kept, and the power of the mel's error against the mel's own variance in dB. With random
weights the vocoder hardly hears the mel, so the mel tells more. Times are CPU time a block of all
sessions, so that other programs show little in them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from fast_vc_service.models.seedvc.f0 import shifted
from fast_vc_service.models.seedvc.length_regulator import LengthRegulator
from fast_vc_service.models.seedvc.model import SeedVcMemory, SeedVcModel
from fast_vc_service.models.seedvc.networks import Networks
from fast_vc_service.models.seedvc.noise import noise_at
from fast_vc_service.models.seedvc.options import SeedVcOptions
from fast_vc_service.models.seedvc.presets import PRESETS
from fast_vc_service.models.seedvc.rmvpe import Rmvpe

PROMPT_EVERY = 5

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

    def _tail(self, _kept_samples: int, frames: int) -> tuple[int, int]:
        return frames, frames


class Recomputing(EveryFrame):
    """Nothing is kept between the sampler's steps, for one session of ``voice``.

    Args:
        model: Whose networks and options to take.
        voice: The session's; None makes it anew from the reference for every window.
        paired: Whether the two branches of the guidance are one batch.
    """

    def __init__(self, model: SeedVcModel, voice: Voice | None, *, paired: bool) -> None:
        super().__init__(model.networks, model.options, model.family)
        self._voice = voice
        self._paired = paired

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
        voice = self._voice or self.make_voice("benchmark", *read_audio(REFERENCE))
        content = networks.content(audio)[:, (audio.shape[1] - seen) // 320 :]
        if f0_hz is not None:
            f0_hz = shifted(f0_hz, log_offset=self._move(memories[0]))
        mu = networks.regulator(content, torch.tensor([frames]), f0_hz)
        prompt_mel, prompt_mu, style = (
            torch.from_numpy(np.asarray(voice.features[key], np.float32))[None]
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
        branches = [(prompt, style, mu), (none(prompt), none(style), none(mu))]
        if self._paired:
            branches = [tuple(map(torch.cat, zip(*branches, strict=True)))]  # type: ignore[list-item]
        for step in range(options.steps):
            outs = [
                networks.dit(
                    x.expand(len(mel), -1, -1),
                    mel,
                    lengths,
                    torch.full((len(mel),), step / options.steps),
                    style=speaker,
                    mu=condition,
                )
                for mel, speaker, condition in branches
            ]
            given, free = torch.cat(outs).chunk(2)
            x = x + (given + options.guidance * (given - free)) / options.steps
            x[:, :, :length] = 0.0
        return x[:, :, length:]


@dataclass(frozen=True)
class Step:
    """One row of the ladder.

    Attributes:
        title: What is done.
        make: Makes the model that does it.
        together: Whether all sessions are one batch.
        brief: Whether it is measured for large batches too.
    """

    title: str
    make: Callable[[], SeedVcModel]
    together: bool
    brief: bool = False


def ladder(model: SeedVcModel, voice: Voice, *, compiled: bool) -> list[Step]:
    """Every step of one preset, the baseline first."""

    def with_(**options: Any) -> Callable[[], SeedVcModel]:
        return lambda: SeedVcModel(model.networks, replace(model.options, **options), model.family)

    steps = [
        Step("everything anew", lambda: Recomputing(model, None, paired=False), together=False),
        Step("+ prompt kept", lambda: Recomputing(model, voice, paired=False), together=False),
        Step(
            "+ guidance in one batch",
            lambda: Recomputing(model, voice, paired=True),
            together=False,
            brief=True,
        ),
        Step(
            "+ sampler keeps",
            lambda: EveryFrame(model.networks, model.options, model.family),
            together=False,
        ),
        Step("+ kept frames vocoded", lambda: model, together=False),
        Step("+ sessions in one batch", lambda: model, together=True, brief=True),
    ]
    if compiled:
        steps.append(Step("and compiled", with_(compile=True), together=True, brief=True))
    return [
        *steps,
        Step("and bfloat16", with_(precision="bfloat16"), together=True, brief=True),
        Step(
            f"and prompt every {PROMPT_EVERY} steps",
            with_(prompt_every=PROMPT_EVERY),
            together=True,
        ),
        Step(
            "and both",
            with_(precision="bfloat16", prompt_every=PROMPT_EVERY),
            together=True,
            brief=True,
        ),
    ]


def measure(
    name: str,
    block_ms: int,
    batches: list[int],
    options: SeedVcOptions,
    *,
    whole_up_to: int,
    compiled: bool,
) -> Iterator[dict[str, Any]]:
    """Time the ladder of one preset; yields what there is after each batch."""
    model = SeedVcModel(random_networks(name), options, f"seedvc-{name}")
    voice = model.make_voice("benchmark", *read_audio(REFERENCE))
    shape = geometry(options, block_ms)
    audio = speech((shape.window + 20 * 320) / SAMPLE_RATE_IN + 0.1, SAMPLE_RATE_IN)
    kept = math.ceil((shape.block + shape.right) * model.sample_rate_out / SAMPLE_RATE_IN)

    def run(subject: SeedVcModel, rows: int, *, together: bool) -> tuple[FloatArray, Tensor, float]:
        mels: list[Tensor] = []
        sampled = type(subject)._mel

        def kept_aside(*arguments: Any, **keywords: Any) -> Tensor:
            mels.append(sampled(subject, *arguments, **keywords))
            return mels[-1]

        subject._mel = kept_aside  # type: ignore[method-assign]
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
        cpu_ms = 1e3 * (time.process_time() - began)
        return np.concatenate(outs)[:, -kept:], torch.cat(mels), cpu_ms

    rows: list[dict[str, Any]] = []
    run(model, 1, together=True)  # tables, filters and thread pools are made
    for batch in batches:
        baseline: tuple[FloatArray, Tensor] | None = None
        for step in ladder(model, voice, compiled=compiled):
            if batch > whole_up_to and not step.brief:
                continue
            subject = step.make()
            if subject.options.compile:
                run(subject, batch, together=True)  # that is when it is compiled
            out, mel, cpu_ms = run(subject, batch, together=step.together)
            baseline = baseline or (out, mel)
            error = (mel - baseline[1]).square().mean() / baseline[1].var()
            rows.append(
                {
                    "step": step.title,
                    "batch": batch,
                    "cpu_ms": cpu_ms,
                    "max_error": float(np.abs(out - baseline[0]).max()),
                    "mel_error_db": 10 * math.log10(float(error) + 1e-15),
                }
            )
            typer.echo(f"{name} {rows[-1]}", err=True)
        yield {"preset": name, "block_ms": block_ms, "steps": options.steps, "rows": rows}


@app.command()
def main(
    *,
    preset: Annotated[list[str], typer.Option(help="tiny, small or base; may be repeated.")],
    batch: Annotated[list[int], typer.Option(help="Sessions; may be repeated.")],
    block_ms: Annotated[int, typer.Option(help="Block in ms.")] = 500,
    steps: Annotated[int, typer.Option(help="Steps of the sampler.")] = 10,
    whole_up_to: Annotated[
        int, typer.Option(help="Largest batch of which every row is measured.")
    ] = 2,
    compiled: Annotated[bool, typer.Option(help="Measure torch.compile too.")] = True,
    name: Annotated[str, typer.Option(help="Name of the result.")] = "seedvc",
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
) -> None:
    """Measure the ladder of presets on one thread."""
    torch.set_num_threads(1)
    options = SeedVcOptions(steps=steps, gate=False)
    found: dict[str, dict[str, Any]] = {}
    for one in preset:
        for result in measure(
            one, block_ms, batch, options, whole_up_to=whole_up_to, compiled=compiled
        ):
            found[one] = result
            path = save(name, output, threads=1, presets=list(found.values()))
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
