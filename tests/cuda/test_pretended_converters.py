"""Every converter on devices that are not there: nothing is mixed, nothing waits that need not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from fast_vc_service.contract import block_out
from fast_vc_service.engine import capacity
from fast_vc_service.engine.build import build_engine
from fast_vc_service.engine.window import WindowConverter
from fast_vc_service.models.nano.load import WEIGHTS, load_networks
from fast_vc_service.models.nano.voice import make_voice
from tests.cuda.converters import (
    CASES,
    ROWS,
    built,
    clip,
    counted,
    nano_voice,
    steps,
    table,
    voice_of,
)
from tests.cuda.pretended import audio, pretended

pytestmark = pytest.mark.skipif(
    torch.version.cuda is not None, reason="a CUDA build of PyTorch has a device guard of its own"
)


@pytest.mark.parametrize("case", CASES)
def test_a_step_asks_no_more_of_its_device_than_the_table_says(case: str) -> None:
    """``python -m tests.cuda.converters`` writes the table anew."""
    for rows, run in steps(case, "cuda:1").items():
        allowed, found = table()[f"{case}, {rows} rows"], counted(run)
        assert found["dispatches"] <= allowed["dispatches"], run.operators.most_common(10)
        assert not Counter(found["waits"]) - Counter(allowed["waits"]), run.waits


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith("float32")])
def test_a_session_lives_on_its_device(case: str) -> None:
    """The other device than in the test above, where nothing may fall back to the first one."""
    with pretended():
        converter = built(case, "cuda:0")
        voice = voice_of(case, converter)
        states = [converter.new_state(voice, 0.0, seed) for seed in range(ROWS)]
        for _ in range(2):
            out = converter.step(audio(converter.block / 16_000, len(states)), states)
            assert out.shape == (len(states), block_out(converter))
        converter.update(states[0], voice, 2.0)
        assert np.isfinite(converter.skip(states[0])).all()
        converter.step(audio(converter.block / 16_000, len(states)), states)


def test_a_voice_of_nano_is_made_on_its_device() -> None:
    with pretended() as run:
        networks = load_networks(WEIGHTS, torch.device("cuda:1"))
        made = make_voice("alto", *clip(), networks, 1)
    assert made.features.keys() == nano_voice().features.keys()
    assert run.dispatches > 100


def test_each_device_has_a_converter_of_its_own() -> None:
    with pretended():
        engine = build_engine(
            "nano", device="cuda:0,cuda:1", latency_ms=None, on_step=lambda *_: None
        )
        voice = nano_voice()
        for lane in engine.placement.lanes:
            state = lane.converter.new_state(voice)
            lane.converter.step(audio(lane.converter.block / 16_000, 1), [state])


def test_the_warm_up_measures_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "MEASURED_S", 0.4)
    with pretended():
        converter = built("nano float32", "cuda:1")
        found = capacity.measure(converter, nano_voice(), threads=1, max_batch=2)
    assert found.batch in (1, 2)
    assert found.memory_batch == 0


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_large_networks_multiply_in_the_half_type(name: str, precision: str) -> None:
    wanted = getattr(torch, precision)
    with pretended():
        converter = built(f"seedvc-{name} {precision}", "cuda:0")
        assert isinstance(converter, WindowConverter)
        networks = converter._model.networks  # type: ignore[attr-defined]
        linear = networks.dit.layers[0].attention.out
        for given in (torch.float32, wanted):
            x = torch.zeros(1, linear.in_features, dtype=given, device="cuda:0")
            assert linear(x).dtype == wanted
        assert networks.speaker.embedding[0].weight.dtype == torch.float32


COPIES = {"_to_copy", "clone", "copy_"}
"""Between devices there are more of them."""


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_each_operation_has_the_type_that_it_has_on_a_cpu(name: str) -> None:
    """``torch.autocast`` would decide otherwise for most: norms, softmax, logarithms, sums."""

    def types(device: str) -> Counter[tuple[str, torch.dtype]]:
        case = f"seedvc-{name} bfloat16"
        with pretended():
            # The gate's recurrent layer is one operator here and some there, all in float32.
            converter = built(case, device, gate=False)
            state = converter.new_state(voice_of(case, converter))
            # Constants that the first step makes once are not made again.
            converter.step(audio(converter.block / 16_000, 1), [state])
        with pretended() as run:
            converter.step(audio(converter.block / 16_000, 1), [state])
        return Counter(
            (name, type_)
            for name, type_ in run.types
            if type_.is_floating_point and name not in COPIES and "attention" not in name
        )

    here, there = types("cpu"), types("cuda:1")
    same = {name for name, _ in here} & {name for name, _ in there}
    assert {"convolution", "addmm", "native_layer_norm"} & same
    for operators in (here - there, there - here):
        assert not {key: n for key, n in operators.items() if key[0] in same}
