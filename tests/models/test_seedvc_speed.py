"""What makes Seed-VC faster: the approximate prompt, programs made by a compiler, CUDA graphs."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from fast_vc_service.contract import FloatArray
from fast_vc_service.models.pieces import pausing
from fast_vc_service.models.seedvc.dit import DiT
from fast_vc_service.models.seedvc.dit_layers import Conditioning
from fast_vc_service.models.seedvc.graphs import Graphs
from fast_vc_service.models.seedvc.model import SeedVcModel
from fast_vc_service.models.seedvc.sampler import Sampler
from tests import seedvc_networks
from tests.seedvc_networks import QUICK, model

NAMES = ("tiny", "small", "base")
PROMPT, FRAMES = 40, 25


@pytest.fixture(scope="module", params=NAMES)
def dit(request: pytest.FixtureRequest) -> DiT:
    return seedvc_networks.networks(str(request.param)).dit


def inputs(dit: DiT, rows: int = 2) -> tuple[torch.Tensor, Conditioning]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    width = dit.config.width
    style = normal(rows, 1, width) if dit.config.tokens else None
    frames = Conditioning(normal(rows, PROMPT + FRAMES, width), style)
    return normal(rows, dit.config.mels, FRAMES), frames


@torch.no_grad()
def test_a_prompt_held_at_the_same_flow_time_changes_nothing(dit: DiT) -> None:
    x, condition = inputs(dit)
    modulation = dit.modulation(torch.tensor([0.3]))
    velocity, held = dit.velocity_and_keys(x, condition, modulation)
    beside = dit.velocity_beside(x, condition, modulation, held)
    assert torch.allclose(beside, velocity, atol=1e-5)
    assert torch.equal(velocity, dit.velocity(x, condition, modulation))


@torch.no_grad()
def test_a_prompt_taken_along_now_and_then_is_near_and_costs_less(
    dit: DiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, condition = inputs(dit)
    exact = Sampler(dit, 6, 0.7)(x, condition)
    frames = []
    dit.layers[0].register_forward_pre_hook(lambda _, args: frames.append(args[0].shape[1]))
    near = Sampler(dit, 6, 0.7, prompt_every=3)(x, condition)
    error = (near - exact).square().mean().sqrt()
    assert 0 < error < 0.2 * exact.square().mean().sqrt()
    whole = PROMPT + FRAMES + dit.tokens
    assert [count == whole for count in frames] == [True, False, False] * 2
    assert max(count for count in frames if count != whole) <= FRAMES + dit.tokens + 16


def test_a_sampler_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="expected steps >= 1"):
        Sampler(seedvc_networks.networks("tiny").dit, 0, 0.7)
    with pytest.raises(ValueError, match="prompt_every >= 1"):
        Sampler(seedvc_networks.networks("tiny").dit, 1, 0.7, prompt_every=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_can_be_interrupted_between_its_pieces(name: str) -> None:
    """Content encoder, each step of the sampler, vocoder."""
    subject = model(name, replace(QUICK, steps=3))
    window = (0.1 * np.random.default_rng(0).standard_normal((1, 19_200))).astype(np.float32)
    memory = subject.new_memory(subject.make_voice("one", window[0], 16_000), 0.0, 0)
    pauses: list[int] = []
    with pausing(lambda: pauses.append(1)):
        subject.convert(window, 3200, 480, [memory], [0])
    assert len(pauses) == 4
    subject.convert(window, 3200, 480, [memory], [0])
    assert len(pauses) == 4, "nobody asks where nobody waits"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["tiny", "small"])
def test_compiled_networks_give_the_same(name: str) -> None:
    window = (0.1 * np.random.default_rng(0).standard_normal((2, 19_200))).astype(np.float32)

    def run(compiled: bool, rows: int) -> FloatArray:
        subject = model(name, replace(QUICK, compile=compiled))
        voice = subject.make_voice("one", window[0], 16_000)
        memories = [subject.new_memory(voice, 0.0, row) for row in range(rows)]
        return subject.convert(window[:rows], 3200, 480, memories, [0] * rows)[0]

    for rows in (1, 2):
        assert np.abs(run(True, rows) - run(False, rows)).max() < 1e-3


@pytest.mark.cuda
@torch.inference_mode()
def test_graphs_replay_what_the_sampler_does(dit: DiT) -> None:
    there = copy.deepcopy(dit).cuda()
    sampler = Sampler(there, 3, 0.7)
    graphs = Graphs()
    graphed = graphs.of(sampler.sampled, "the sampler")
    for rows in (4, 3, 2, 3, 1):
        graphs.recording = rows == 4
        x, condition = inputs(dit, rows)
        style = None if condition.style is None else condition.style.cuda()
        moved = Conditioning(condition.frames.cuda(), style)
        wanted = sampler(x.cuda(), moved)
        made = graphed(x.cuda(), moved.frames, moved.style)
        assert torch.allclose(made, wanted, atol=1e-4)
    assert graphs.largest == 4


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_window_by_graphs_is_that_without(dit: DiT, precision: str) -> None:
    name = next(name for name in NAMES if seedvc_networks.networks(name).dit is dit)
    here = seedvc_networks.networks(name)
    parts = ("content", "regulator", "dit", "speaker", "vocoder", "pitch")
    moved = {part: copy.deepcopy(getattr(here, part)) for part in parts}
    there = replace(here, **{part: network and network.cuda() for part, network in moved.items()})
    window = (0.1 * np.random.default_rng(0).standard_normal((1, 19_200))).astype(np.float32)
    outs = []
    for graphs in (False, True):
        options = replace(QUICK, precision=precision, cuda_graphs=graphs)
        subject = SeedVcModel(there, options, f"seedvc-{name}")
        voice = subject.make_voice("one", window[0], 16_000)
        memory = subject.new_memory(voice, 0.0, 1)
        with subject.graphs.being_recorded():
            outs.append(subject.convert(window, 3200, 480, [memory], [0])[0])
    assert np.abs(outs[0] - outs[1]).max() < 1e-3
