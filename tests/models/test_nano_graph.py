"""A step as graphs is the step that Python runs, for any batch, and from several threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fast_vc_service.audio.files import read_audio
from fast_vc_service.contract import Voice
from fast_vc_service.models.nano.converter import NanoConverter
from tests.models import nano_networks

WAVS = Path(__file__).parents[2] / "wavs"

Blocks = NDArray[np.float32]


@pytest.fixture(scope="module")
def plain() -> NanoConverter:
    return NanoConverter(nano_networks.networks(), block_ms=60)


@pytest.fixture
def traced() -> NanoConverter:
    return NanoConverter(replace(nano_networks.networks(), traced=True), block_ms=60)


@pytest.fixture(scope="module")
def voice(plain: NanoConverter) -> Voice:
    audio, rate = read_audio(WAVS / "references/alto.wav")
    return plain.make_voice("alto", audio[: 3 * rate], rate)


@pytest.fixture(scope="module")
def blocks(plain: NanoConverter) -> Blocks:
    audio, _ = read_audio(WAVS / "sources/british-male-16k.wav")
    return audio[16_000 : 16_000 + 12 * plain.block].reshape(12, -1)


def spoken(
    converter: NanoConverter, voice: Voice, blocks: Blocks, batches: Sequence[int]
) -> list[Blocks]:
    states = [converter.new_state(voice, seed=seed) for seed in range(max(batches))]
    return [
        converter.step(np.tile(block, (batch, 1)), states[:batch])
        for block, batch in zip(blocks, batches, strict=False)
    ]


@pytest.mark.parametrize("batches", [(1, 3, 2, 1, 1, 4, 1), (4, 4, 1, 4, 2, 2, 3)])
def test_a_graph_gives_the_same_samples(
    plain: NanoConverter,
    traced: NanoConverter,
    voice: Voice,
    blocks: Blocks,
    batches: tuple[int, ...],
) -> None:
    wanted = spoken(plain, voice, blocks, batches)
    got = spoken(traced, voice, blocks, batches)
    assert all(np.array_equal(one, other) for one, other in zip(wanted, got, strict=True))
    assert np.concatenate([each[0] for each in got]).any()


def test_threads_share_a_graph(
    plain: NanoConverter, traced: NanoConverter, voice: Voice, blocks: Blocks
) -> None:
    wanted = spoken(plain, voice, blocks, [2] * 12)
    got: dict[int, list[Blocks]] = {}
    start = threading.Barrier(3)

    def run(thread: int) -> None:
        start.wait()  # so that all three come while there is no graph
        got[thread] = spoken(traced, voice, blocks, [2] * 12)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in got.values():
        assert all(np.array_equal(one, other) for one, other in zip(wanted, each, strict=True))
    assert len(got) == 3
