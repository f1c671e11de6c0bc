"""CUDA graphs: recorded in the warm-up, on their own device, and equal to what they stand for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from loguru import logger

from fast_vc_service.engine.window import WindowConverter
from fast_vc_service.models.seedvc import graphs as graphs_module
from fast_vc_service.models.seedvc.graphs import Graphs
from fast_vc_service.models.seedvc.model import SeedVcModel
from tests import seedvc_networks
from tests.cuda import streams
from tests.cuda.converters import built, voice_of
from tests.cuda.pretended import audio, pretended

CPU_BUILD = pytest.mark.skipif(
    torch.version.cuda is not None, reason="a CUDA build of PyTorch has a device guard of its own"
)


@pytest.fixture(autouse=True)
def nothing_recorded() -> Iterator[None]:
    graphs_module._recorder.cache_clear()
    streams.recorded.clear()
    streams.made_streams.clear()
    yield
    graphs_module._recorder.cache_clear()


@CPU_BUILD
@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_graphs_are_recorded_on_their_device_and_only_when_that_is_wanted(device: str) -> None:
    case = "seedvc-base float16"
    with pretended():
        converter = built(case, device, cuda_graphs=True, prompt_every=2)
        voice = voice_of(case, converter)
        assert isinstance(converter, WindowConverter)
        model: Any = converter._model
        states = [converter.new_state(voice, 0.0, seed) for seed in range(4)]
        block = converter.block / 16_000
        converter.step(audio(block, 3), states[:3])
        assert streams.recorded == [], "a live step records nothing"
        with model.graphs.being_recorded():
            for rows in (4, 2):
                converter.step(audio(block, rows), states[:rows])
        assert {place for place, _ in streams.recorded} == {torch.device(device)}
        assert len({pool for _, pool in streams.recorded}) == 1
        assert streams.made_streams == [torch.device(device)]
        # Sampler, vocoder and gate in both sizes.
        assert len(streams.recorded) == 6
        assert model.graphs.largest == 4
    for rows in (1, 2, 3, 4):
        with pretended() as run:
            converter.step(audio(block, rows), states[:rows])
        assert run.dispatches < 1000, "replays launch little: it was 3000"
    assert len(streams.recorded) == 6


class Emulated:
    """A graph that does again what was recorded, on the same buffers, with numbers."""

    recorded: Callable[[], None] | None = None

    def replay(self) -> None:
        assert self.recorded is not None
        self.recorded()


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Callable[[Graphs], None]:
    """Emulates graphs on the CPU for the functions of a :class:`Graphs`."""
    current: list[Emulated] = []

    @contextlib.contextmanager
    def recording(graph: Emulated, *_args: object, **_named: object) -> Iterator[None]:
        current.append(graph)
        yield
        current.pop()

    def replayable(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def call(*arguments: Any) -> torch.Tensor:
            out = function(*arguments)

            def again() -> None:
                out.copy_(function(*arguments))

            if current:
                current[-1].recorded = again
            return out

        return call

    def apply(graphs: Graphs) -> None:
        for graphed in graphs._functions:
            graphed._function = replayable(graphed._function)

    for name, instead in {
        "CUDAGraph": Emulated,
        "graph": recording,
        "Stream": streams.Stream,
        "current_stream": streams.Current,
        "stream": lambda _stream: contextlib.nullcontext(),
        "graph_pool_handle": lambda: (0, 0),
    }.items():
        monkeypatch.setattr(torch.cuda, name, instead)
    return apply


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_a_replay_gives_what_the_networks_give(
    name: str, emulated: Callable[[Graphs], None]
) -> None:
    options = replace(seedvc_networks.QUICK, gate=True)
    plain = seedvc_networks.model(name, options)
    voice = plain.make_voice("one", audio(1.4), 16_000)
    graphed = SeedVcModel(
        seedvc_networks.networks(name), replace(options, cuda_graphs=True), plain.family
    )
    emulated(graphed.graphs)
    windows = audio(1.2, 4)
    memories = [plain.new_memory(voice, 0.0, row) for row in range(4)]
    with graphed.graphs.being_recorded():
        for rows in (4, 1):
            graphed.convert(windows[:rows], 3200, 480, memories[:rows], [0] * rows)
    for rows in (3, 1, 4):
        wanted, _ = plain.convert(windows[:rows], 3200, 480, memories[:rows], [0] * rows)
        made, _ = graphed.convert(windows[:rows], 3200, 480, memories[:rows], [0] * rows)
        assert np.abs(made - wanted).max() < 1e-3


def test_what_cannot_be_recorded_runs_as_it_is_and_is_told_once(
    emulated: Callable[[Graphs], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_args: object, **_named: object) -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    graphs = Graphs()
    double = graphs.of(lambda x: 2 * x, "the doubling")
    emulated(graphs)
    monkeypatch.setattr(torch.cuda, "graph", refused)
    try:
        for _ in range(3):
            with graphs.being_recorded():
                assert double(torch.ones(2, 3)).sum() == 12
    finally:
        logger.remove(sink)
    assert graphs.largest == 0
    assert [line for line in lines if "the doubling is not recorded" in line] == lines
    assert len(lines) == 1
